//go:build !linux

package spool

import "os"

func datasync(f *os.File) error { return f.Sync() }

// reserve sets the size: NTFS takes the space with it; elsewhere a full disk shows at the write.
func reserve(f *os.File, size int64) error { return f.Truncate(size) }
