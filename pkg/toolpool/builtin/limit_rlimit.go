//go:build linux && !race

package builtin

import "golang.org/x/sys/unix"

// limitMemory bounds the writable private memory of a process. RLIMIT_AS would also count the address space that Go
// reserves and never touches.
func limitMemory(pid int, bytes uint64) error {
	return unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
}
