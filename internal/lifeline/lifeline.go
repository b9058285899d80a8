// Package lifeline ends a program when the program that started it ends, also if that is killed.
//
// The parent keeps the writing end of the child's standard input open and never writes to it. The kernel closes it with
// the parent, on every system. A process that the parent forks may inherit the writing end, so on Linux the kernel also
// sends a signal when the parent ends.
//
// [Hold] starts one goroutine, which lives as long as the process.
package lifeline

import (
	"io"
	"os"
	"syscall"
	"time"
)

// Variable names the environment variable that ties a program to its parent. Its only value is "stdin".
const Variable = "BATCHAGENT_LIFELINE"

// grace is the time between the end of the parent and the forced end of the program.
const grace = 5 * time.Second

// Hold ties this process to its parent if [Variable] is set. After the parent's end, the process gets a SIGTERM, and
// exits after a grace period. Call it in main.
func Hold(getenv func(string) string) {
	if getenv(Variable) != "stdin" {
		return
	}
	signalWithParent()
	go func() {
		await(os.Stdin)
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		<-time.After(grace)
		os.Exit(128 + int(syscall.SIGTERM))
	}()
}

// await returns when the writing end of r is closed. It drops what is written.
func await(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
