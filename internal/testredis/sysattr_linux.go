package testredis

import "syscall"

// sysProcAttr ends a server with the test binary, also when that is killed before its cleanups.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
