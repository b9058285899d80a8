package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/batchagent/batchagent/pkg/internal/keeper"
)

// containedCommand is the first argument of the first process of a container. The path of its file follows.
const containedCommand = "batchagent-contained"

// Names of files in the folder of a container.
const (
	commandFile = "command.json"
	beganFile   = "began"
	endedFile   = "ended"
)

// The first process of a container never returns from here.
var _ = containIfAsked()

func containIfAsked() bool {
	if len(os.Args) != 3 || os.Args[1] != containedCommand {
		return false
	}
	os.Exit(contain(os.Args[2]))
	return true
}

// Contained describes the work of a container's first process. All paths are the same inside and outside.
type Contained struct {
	Folder  string   // belongs to this container
	Lock    string   // a file that the caller holds locked while it lives
	Socket  string   // of the caller
	Address string   // is forwarded to Socket
	Env     []string // NAME=value, besides the variables of the image
	Argv    []string
}

// Write writes the file that the first process reads.
func (c Contained) Write() error {
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Folder, commandFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("describe the command of a container: %w", err)
	}
	return nil
}

// Command returns the arguments of the first process. executable is the path of this executable.
func (c Contained) Command(executable string) []string {
	return []string{executable, containedCommand, filepath.Join(c.Folder, commandFile)}
}

// Began reports whether the first process ran.
func (c Contained) Began() bool { return c.has(beganFile) }

// Ended reports whether the command ended by itself, or could not start. Otherwise the container was ended from outside.
func (c Contained) Ended() bool { return c.has(endedFile) }

func (c Contained) has(name string) bool {
	_, err := os.Stat(filepath.Join(c.Folder, name))
	return err == nil
}

// note makes an empty file for the worker.
func (c Contained) note(name string) error {
	return os.WriteFile(filepath.Join(c.Folder, name), nil, 0o600)
}

// contain runs the command of a container below a keeper and returns its exit status.
func contain(path string) int {
	var c Contained
	text, err := os.ReadFile(path) //nolint:gosec // the parent wrote it
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return failed("the command of the container cannot be read: %v", err)
	}
	if err := c.note(beganFile); err != nil {
		return failed("the container cannot write to its folder: %v", err)
	}
	status := c.run()
	if err := c.note(endedFile); err != nil {
		return failed("the container cannot write to its folder: %v", err)
	}
	return status
}

func (c Contained) run() int {
	lock, err := os.Open(c.Lock)
	if err != nil {
		return failed("the lock of the worker cannot be opened in the container: %v", err)
	}
	go func() {
		_ = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH) // until the worker dies
		os.Exit(128 + int(syscall.SIGKILL))                // the end of its first process ends a container
	}()
	if err := serve(c.Socket, c.Address); err != nil {
		return failed("%v", err)
	}
	for _, variable := range c.Env {
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return failed("the variable %s cannot be set: %v", name, err)
		}
	}
	program, err := exec.LookPath(c.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return failed("there is no program %q in the image", c.Argv[0])
	}
	cmd, lifeline, err := keeper.Command(append([]string{program}, c.Argv[1:]...), 0, os.NewFile(0, "stdin"))
	if err != nil {
		return failed("%s cannot be started in the container: %v", c.Argv[0], err)
	}
	defer func() { _ = lifeline.Close() }()
	cmd.Stdout, cmd.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	err = cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0
	case outOfMemory():
		return failed("the memory of the container was used up")
	case exited && exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return failed("%s cannot be started in the container: %v", c.Argv[0], err)
}

// outOfMemory reports whether the kernel has killed a process of this container for its memory. The file is that of a control group of
// the second version, and of the first one.
func outOfMemory() bool {
	for _, path := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if count, found := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); found && count != "0" {
				return true
			}
		}
	}
	return false
}
