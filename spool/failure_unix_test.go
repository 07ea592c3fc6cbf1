//go:build unix

package spool

import "syscall"

const noSpaceErrno = syscall.ENOSPC
