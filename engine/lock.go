//go:build linux || darwin

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how long a start waits for the process that has the directory: one that was
// killed needs up to a second or two to end. After it the directory counts as in use.
const (
	lockPatience = 5 * time.Second
	lockPoll     = 50 * time.Millisecond
)

// lockDir claims the data directory for this process. ClickHouse has a lock of
// its own; ours comes first, because it can say who holds it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for end := time.Now().Add(lockPatience); errors.Is(err, syscall.EWOULDBLOCK) && time.Now().Before(end); {
		// The engine of a server that was killed a moment ago is still giving its memory back.
		time.Sleep(lockPoll)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, dirInUse(dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// dirInUse words ErrDirInUse with the holder's pid, where the file tells it.
func dirInUse(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, lockFileName))
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return fmt.Errorf("%w: %s is open in process %s; stop that one, or choose another directory", ErrDirInUse, dir, pid)
	}
	return fmt.Errorf("%w: %s is open in another process; stop that one, or choose another directory", ErrDirInUse, dir)
}
