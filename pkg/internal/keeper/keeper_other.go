//go:build !linux

package keeper

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

// group is the process group of a program. Closing it kills its processes.
type group struct{ cmd *exec.Cmd }

func (g group) Close() error { return syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) }

// Command returns the command that runs a program in a process group. Closing lifeline ends it. The memory is not limited.
func Command(argv []string, _ int64, stdin *os.File) (cmd *exec.Cmd, lifeline io.Closer, err error) {
	cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec // declared by the operator
	cmd.Stdin = stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, group{cmd}, nil
}
