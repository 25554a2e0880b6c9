package testkit

import "syscall"

// dieWithParent makes the kernel end a child when we end, even when we are killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
