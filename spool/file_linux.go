package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes the bytes written. The file's size and blocks do not change between
// allocation and truncation, so that nothing of the metadata needs the journal.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// reserve makes the file size bytes long with its space on disk taken, where the file system can.
func reserve(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.Truncate(size)
		default:
			return err
		}
	}
}
