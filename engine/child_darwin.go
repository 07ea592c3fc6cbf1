package engine

import "syscall"

// childAttr keeps a terminal's Ctrl-C for the parent, which then stops the
// child in order. A parent's sudden death shows as the end of the child's
// standard input.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
