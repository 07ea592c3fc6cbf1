package query

import "time"

// Thresholds of the failure and coverage reports, with their bounds. What they
// mean stands in docs/reports.md.
const (
	DefaultBurstCount = 5
	MinBurstCount     = 2
	MaxBurstCount     = 10_000

	DefaultBurstWindow = 10 * time.Minute
	MaxBurstWindow     = 24 * time.Hour

	DefaultSprayUsers = 5
	MinSprayUsers     = 2
	MaxSprayUsers     = 10_000

	DefaultSilenceAfter = 72 * time.Hour
	MaxSilenceAfter     = 366 * 24 * time.Hour
)
