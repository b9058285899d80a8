package confine

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stacks is the memory for thread stacks, which count as data in a program with C code.
const stacks = 64 << 20

// Attributes makes a child lead its own process group and die with the thread that started it. A child also exits at
// the end of its input, so it does not outlive its parent.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limit sets the limits of this process. A child gets 1.5 times the CPU time of one computation, because it is reused until it has used
// half of that time. RLIMIT_AS is unsuitable: it also counts address space that Go reserves and never uses.
func limit(l Limits) error {
	cpu := uint64((l.CPU + l.CPU/lifetime + time.Second - 1) / time.Second) //nolint:gosec // positive
	limits := map[int]uint64{unix.RLIMIT_CPU: cpu, unix.RLIMIT_CORE: 0}
	if memoryLimited {
		limits[unix.RLIMIT_DATA] = l.Memory + stacks
	}
	for what, most := range limits {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return nil
}

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
