package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/bench"
)

const benchHelp = `Measure this binary: how many events it takes in, how fast reports are, how much memory and
disk it needs.

It starts servers of its own on fresh data directories and talks to them over loopback.
Each figure is a line "bench NAME VALUE UNIT"; lines that begin with # tell the target, whether it
is reached, and how the figure came about. docs/bench.md says what each figure means.

The machine should have nothing else to do from a line "MEASURING …" to the next that says so; while
a store is filled it may. The full measurement takes some minutes, about 2 GB of memory
besides the server's, and 2 GB of disk; --large takes about a quarter of an hour and 10 GB.

Exit status: 0 when everything was measured, whatever came out; with --strict 1 when a figure
is short of its target.`

func newBenchCommand() *cobra.Command {
	var quick, large, strict bool
	var only []string
	var dir, binary, profiles string
	var events, rounds int
	var fill int64
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput, latency, memory and disk",
		Long:  benchHelp,
		Example: `  gatehouse bench
  gatehouse bench --only batch --rounds 5
  gatehouse bench --only reports --large`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if binary == "" {
				var err error
				if binary, err = os.Executable(); err != nil {
					return err
				}
			}
			board := bench.NewBoard(cmd.OutOrStdout())
			r := bench.NewRunner(binary, board)
			r.WorkDir, r.Only, r.Profiles = dir, only, profiles
			if large {
				r.LargeEvents = bench.LargeEvents
			}
			if quick {
				r.Quick()
			}
			if cmd.Flags().Changed("events") {
				r.BatchEvents = events
			}
			if cmd.Flags().Changed("rounds") {
				r.Rounds = rounds
			}
			if cmd.Flags().Changed("fill") {
				r.FillEvents = fill
			}
			if r.BatchEvents < 1 || r.Rounds < 1 || r.FillEvents < 1 {
				return usageError{fmt.Errorf("--events, --rounds and --fill must be at least 1")}
			}
			if err := r.Run(cmd.Context()); err != nil {
				return err
			}
			if short := board.Short(); strict && len(short) > 0 {
				return fmt.Errorf("short of their targets: %s", strings.Join(short, ", "))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&quick, "quick", false, "so few events that the figures mean nothing: a test of the measurement itself")
	f.BoolVar(&large, "large", false, "also measure reports at 100 million events")
	f.BoolVar(&strict, "strict", false, "fail when a figure is short of its target")
	f.StringSliceVar(&only, "only", nil, "measure only these: "+strings.Join(bench.Groups, ", "))
	f.StringVar(&dir, "dir", "", "where data directories are made (default the system's temporary directory)")
	f.StringVar(&binary, "binary", "", "the gatehouse to measure (default this one)")
	f.StringVar(&profiles, "cpu-profiles", "", "put CPU profiles of the servers that take events into this directory (they cost some speed)")
	f.IntVar(&events, "events", 0, "events of a batch run (default 1000000)")
	f.IntVar(&rounds, "rounds", 0, "batch runs, of which the median counts (default 3)")
	f.Int64Var(&fill, "fill", 0, "events in the store when reports are measured (default 10000000)")
	return cmd
}
