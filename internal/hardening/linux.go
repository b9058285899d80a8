//go:build linux

package hardening

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxEnvironment limits how much of the initial environment is read, in bytes. Linux allows less.
const maxEnvironment = 8 << 20

// wipeInitial overwrites the values of variables in the initial environment, which /proc/PID/environ shows for the life
// of a process. It writes through /proc/self/mem. If that fails, [Undumpable] still hides them from processes of the
// same user.
func wipeInitial(names []string) {
	first, end, ok := initialEnvironment()
	if !ok {
		return
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer memory.Close()
	all := make([]byte, end-first)
	if _, err := memory.ReadAt(all, first); err != nil {
		return
	}
	at := first
	for variable := range bytes.SplitSeq(all, []byte{0}) {
		name, value, _ := bytes.Cut(variable, []byte("="))
		if slices.Contains(names, string(name)) {
			_, _ = memory.WriteAt(bytes.Repeat([]byte("x"), len(value)), at+int64(len(name))+1)
		}
		at += int64(len(variable)) + 1
	}
}

// initialEnvironment returns the addresses of the initial environment in memory: fields 50 and 51 of /proc/self/stat.
func initialEnvironment() (first, end int64, ok bool) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	// The second field is the program's name in parentheses and may contain spaces.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 49 {
		return 0, 0, false
	}
	first, err1 := strconv.ParseInt(string(fields[47]), 10, 64)
	end, err2 := strconv.ParseInt(string(fields[48]), 10, 64)
	return first, end, err1 == nil && err2 == nil && first > 0 && end > first && end-first < maxEnvironment
}

// Undumpable keeps processes of the same user from reading this process's environment and memory under /proc. It does
// not apply to children that run another program.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	return nil
}
