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
		newConfigPrintCommand(c),
		&cobra.Command{
			Use:   "check",
			Short: "Tell all mistakes in the settings at once, and what to look at",
			Args:  exactArgs(0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := c.config()
				if err != nil {
					return err
				}
				for _, notice := range cfg.Notices() {
					if _, err := fmt.Fprintln(cmd.OutOrStdout(), "note: "+notice); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "The settings are in order.")
				return err
			},
		},
	)
	return cmd
}

func newConfigPrintCommand(c *cli) *cobra.Command {
	var defaults bool
	cmd := &cobra.Command{
		Use:     "print",
		Aliases: []string{"show"},
		Short:   "Print the settings in force, without secrets",
		Example: "  gatehouse config print\n  gatehouse config print --default > data/config.ini",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return config.WriteDefault(cmd.OutOrStdout())
			}
			cfg, err := c.config()
			if err != nil {
				return err
			}
			return cfg.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&defaults, "default", false, "print a config.ini that explains every setting instead, as \"config default\" does")
	return cmd
}
