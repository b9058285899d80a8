package processkit

import "syscall"

// sysProcAttr makes the kernel end a program together with the test or benchmark that started it, even if that is killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
