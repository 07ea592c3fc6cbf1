package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/config"
)

const configHelp = `Settings come from three places, the later ones going before: the defaults, a file
(config.ini in the data directory, or --config), and the environment. Nearly every setting can be
left as it is.`

func newConfigCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Explain, show and check the settings",
		Long:  configHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "default",
			Short:   "Print a config.ini that explains every setting",
			Example: "  gatehouse config default > data/config.ini",
			Args:    exactArgs(0),
			RunE:    func(cmd *cobra.Command, _ []string) error { return config.WriteDefault(cmd.OutOrStdout()) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print the settings in force, without secrets",
			Args:  exactArgs(0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := c.config()
				if err != nil {
					return err
				}
				return cfg.Write(cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "check",
			Short: "Tell all mistakes in the settings at once",
			Args:  exactArgs(0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				if _, err := c.config(); err != nil {
					return err
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "The settings are in order.")
				return err
			},
		},
	)
	return cmd
}
