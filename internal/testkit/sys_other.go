//go:build !linux

package testkit

import "syscall"

// dieWithParent has no counterpart here: a child of a killed test process stays until somebody ends it.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
