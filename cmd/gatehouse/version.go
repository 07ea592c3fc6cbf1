package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version and commit are set by the Makefile, from the tag and the revision. A plain `go build` leaves them; then the
// commit is what Go has stamped, if it has (it does not with -buildvcs=false, or outside of a checkout).
var (
	version = "dev"
	commit  string
)

// versionView is what is known about the binary, as text and JSON.
type versionView struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified"` // built from a working tree with changes
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion() versionView {
	v := versionView{Version: version, Commit: commit, Modified: strings.HasSuffix(version, "-dirty"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Built = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}

// String is the version in one line.
func (v versionView) String() string {
	from := "commit unknown"
	if v.Commit != "" {
		from = "commit " + v.Commit[:min(len(v.Commit), 12)]
	}
	if v.Modified {
		from += " with changes"
	}
	return fmt.Sprintf("gatehouse %s (%s, %s, %s)", v.Version, from, v.Go, v.Platform)
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version of this binary, the commit that it was built from and the Go version that built it.",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := buildVersion()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), v)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}
