//go:build unix

package main

import "golang.org/x/sys/unix"

// diskFree is how many bytes the server may still write on the disk of dir.
func diskFree(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil //nolint:gosec,unconvert // a block size is positive; its type differs by system
}
