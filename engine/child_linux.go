package engine

import "syscall"

// childAttr has the kernel kill the child when its parent dies, even by
// SIGKILL, and keeps a terminal's Ctrl-C for the parent, which then stops the
// child in order.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
