//go:build !linux

package processkit

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return nil }
