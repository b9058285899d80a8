package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperCommand is the first argument of a keeper. Its second one is the memory limit of the program in bytes, or 0. The program and
// its arguments follow. File descriptor 3 is the program's standard input.
const keeperCommand = "batchagent-keeper"

// A keeper never returns from here.
var _ = keepIfAsked()

func keepIfAsked() bool {
	if len(os.Args) < 4 || os.Args[1] != keeperCommand {
		return false
	}
	memory, _ := strconv.ParseUint(os.Args[2], 10, 64) // the parent wrote it
	os.Exit(keep(memory, os.Args[3:]))
	return true
}

// keep runs a program and returns its exit status, or 128 and the number of the signal that ended it. It ends the program and all that
// the program started when its standard input ends.
func keep(memory uint64, argv []string) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // the parent decides
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failed("this system cannot keep the processes of a program together: %v", err)
	}
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Files: []*os.File{os.NewFile(3, "stdin"), os.NewFile(1, "stdout"), os.NewFile(2, "stderr")},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return failed("%s cannot be started: %v", argv[0], errors.Unwrap(err))
	}
	if memory > 0 {
		limit := unix.Rlimit{Cur: memory, Max: memory}
		if err := unix.Prlimit(p.Pid, unix.RLIMIT_DATA, &limit, nil); err != nil && !errors.Is(err, syscall.ESRCH) {
			_ = p.Kill()
			return failed("the memory of the program cannot be limited: %v", err)
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		killAll()
		os.Exit(128 + int(syscall.SIGKILL))
	}()
	status := 0
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return status // no process is left
		case pid == p.Pid:
			if status = ws.ExitStatus(); ws.Signaled() {
				status = 128 + int(ws.Signal())
			}
			go killAll()
		}
	}
}

func failed(format string, args ...any) int {
	fmt.Fprintf(os.NewFile(2, "stderr"), format+"\n", args...)
	return 127
}

// killAll kills the children of this process, again and again: their own children become children of this process.
func killAll() {
	for {
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(time.Millisecond)
		if len(children()) == 0 {
			return
		}
	}
}

// children returns the children of this process.
func children() (out []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// Command returns the command that runs a program below a keeper. Closing lifeline ends it.
func Command(argv []string, memory int64, stdin *os.File) (cmd *exec.Cmd, lifeline io.Closer, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	cmd = exec.Command(exe, append([]string{keeperCommand, strconv.FormatInt(memory, 10)}, argv...)...) //nolint:gosec // this program itself
	cmd.ExtraFiles = []*os.File{stdin}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err = cmd.StdinPipe()
	return cmd, lifeline, err
}
