//go:build !linux

package confine

import (
	"syscall"
	"time"
)

// Attributes makes a child lead its own process group.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// limit does nothing: only the context ends a computation.
func limit(Limits) error { return nil }

func cpuTime() time.Duration { return 0 }
