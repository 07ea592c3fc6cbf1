//go:build linux || darwin

package engine

import "log/slog"

// Fence is how far the kernel confines the engine.
type Fence string

const (
	// FenceNone is an engine that may do whatever its user may.
	FenceNone Fence = "none"
	// FenceFiles is an engine that reaches its own files alone, and the network: the kernel is older than 6.7.
	FenceFiles Fence = "files"
	// FenceFull is an engine that reaches its own files alone, and no network.
	FenceFull Fence = "full"
)

// Level is the fence as a number: 0 none, 1 files, 2 full.
func (f Fence) Level() int {
	switch f {
	case FenceFull:
		return 2
	case FenceFiles:
		return 1
	default:
		return 0
	}
}

// warn says so loudly when the fence is not whole.
func (f Fence) warn(log *slog.Logger, attrs ...any) {
	attrs = append(attrs, slog.String("fence", string(f)))
	switch f {
	case FenceFull:
	case FenceFiles:
		log.Warn("THE ENGINE REACHES THE NETWORK: the kernel's Landlock confines its files but no connections", attrs...)
	default:
		log.Warn("THE ENGINE RUNS UNFENCED: SQL that reaches it can read every file that this user can, and reach the network", attrs...)
	}
}
