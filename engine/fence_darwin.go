package engine

import (
	"log/slog"
	"syscall"
)

// enterFence has nothing to confine with on this system, and says so.
func enterFence(_ ServeOptions, log *slog.Logger) error {
	FenceNone.warn(log, slog.String("reason", "no Landlock on this system"))
	clearEnv()
	return nil
}

func (o ServeOptions) fence() Fence { return FenceNone }

func checkFence() error { return nil }

func setLimits() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	syscall.Umask(0o077)
}

func saveSignalHandlers() func() { return func() {} }
