package confine

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stacks is for the stacks of threads, which a program with C code takes from its data.
const stacks = 64 << 20

// Attributes let a child lead its own process group and die with the thread that started it. The end of its input is the other way by which it notices the
// death of its parent.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limit bounds this process. A child gets half as much CPU time again as one computation may take, because it is reused until
// half is spent. RLIMIT_AS would also count the address space that Go reserves and never touches.
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

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
