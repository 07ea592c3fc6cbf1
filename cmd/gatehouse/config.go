package main

import (
	"errors"
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
		newConfigCheckCommand(c),
	)
	return cmd
}

// configView is what "config check" finds.
type configView struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
	Notes    []string `json:"notes"`
}

func newConfigCheckCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell all mistakes in the settings at once, and what to look at",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.config()
			if asJSON {
				view := configView{err == nil, []string{}, []string{}}
				if problems, ok := errors.AsType[config.Problems](err); ok {
					view.Problems = problems
				} else if err != nil {
					view.Problems = []string{err.Error()}
				} else {
					view.Notes = append(view.Notes, cfg.Notices()...)
				}
				return errors.Join(err, printJSON(cmd.OutOrStdout(), view))
			}
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
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object; the exit status is that without it")
	return cmd
}

func newConfigPrintCommand(c *cli) *cobra.Command {
	var defaults, asJSON bool
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
			if asJSON {
				return printJSON(cmd.OutOrStdout(), cfg.Values())
			}
			return cfg.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&defaults, "default", false, "print a config.ini that explains every setting instead, as \"config default\" does")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object: sections, and in each its settings as texts")
	cmd.MarkFlagsMutuallyExclusive("default", "json")
	return cmd
}
