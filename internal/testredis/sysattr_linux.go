package testredis

import "syscall"

// sysProcAttr makes the kernel end the server with the test binary, even if the binary is killed before its cleanups.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
