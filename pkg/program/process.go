package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/internal/capture"
	"github.com/batchagent/batchagent/pkg/internal/keeper"
	"github.com/batchagent/batchagent/pkg/redact"
)

const (
	// maxAnswer limits the answer of a program, in bytes.
	maxAnswer = 4 << 20
	// maxComplaint limits the end of standard error that an error message shows, in bytes.
	maxComplaint = 2 << 10
	// goodbye is the time for a keeper to end all processes.
	goodbye = 10 * time.Second
)

// Process is one program that runs once.
type Process struct {
	Argv   []string // the program and its arguments, without a shell
	Env    []string // NAME=value; nothing else of this process' environment
	Dir    string   // the working folder
	Stdin  []byte
	Memory int64  // bytes of writable private memory for each process; 0 does not limit it
	Name   string // of the program in messages; "" takes the first one of Argv
	// Secrets are redacted in the error message and in the answer. Nil redacts nothing.
	Secrets *redact.Secrets
	// Log gets each line of standard error. Nil drops them.
	Log func(line string)
	// Stop ends what the processes began elsewhere, such as a container. It is called when the context ends, before the processes are
	// killed. Nil does nothing.
	Stop func()
}

// ErrKilled means that a signal from outside ended the program: the system lacked memory, or a person sent it. The job may start again.
var ErrKilled = errors.New("the program was killed")

// Run runs the program to its end and returns what it wrote to standard output. When ctx ends, all its processes are killed and Run
// returns ctx's cause. A *batch.Error of the type ProgramFailed says that the program could not start, or ended with another status
// than 0. [ErrKilled] says that a signal from outside ended it. No process is left when Run returns.
func (p Process) Run(ctx context.Context) (string, error) {
	if p.Name == "" {
		p.Name = p.Argv[0]
	}
	path, err := exec.LookPath(p.Argv[0])
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("there is no program %q on this machine", p.Argv[0]))
	}
	stdin, err := p.input()
	if err != nil {
		return "", fmt.Errorf("write the input of %s: %w", p.Argv[0], err)
	}
	defer func() { _ = stdin.Close() }()
	cmd, lifeline, err := keeper.Command(append([]string{path}, p.Argv[1:]...), p.Memory, stdin)
	if err != nil {
		return "", err
	}
	answer, complaint := capture.NewHead(maxAnswer), &tail{log: p.Log}
	stdout, stderr := p.Secrets.Writer(answer), p.Secrets.Writer(complaint)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.Env, p.Dir, stdout, stderr
	cmd.WaitDelay = goodbye
	if err := cmd.Start(); err != nil {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("%s cannot be started: %v", p.Argv[0], errors.Unwrap(err)))
	}
	stopped := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(stopped)
		if p.Stop != nil {
			p.Stop()
		}
		_ = lifeline.Close()
	})
	err = cmd.Wait()
	if !forget() {
		<-stopped
	}
	_ = lifeline.Close()
	_, _ = stdout.Close(), stderr.Close() // their targets accept every write
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if killed(err) {
		return "", fmt.Errorf("%w: %s%s", ErrKilled, p.Name, complaint.said())
	}
	if err != nil {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("%s ended with %s%s", p.Name, status(err), complaint.said()))
	}
	if answer.Cut() {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("%s printed more than %d MiB", p.Name, maxAnswer>>20))
	}
	return answer.Kept(), nil
}

// input returns an open file with the standard input. A pipe would need a goroutine, and a program that does not read its input would
// hold it.
func (p Process) input() (*os.File, error) {
	if len(p.Stdin) == 0 {
		return os.Open(os.DevNull)
	}
	f, err := os.CreateTemp("", "batchagent-input-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // the open file remains
	if _, err = f.Write(p.Stdin); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// killed reports whether a signal that comes from outside ended the program.
func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && (exit.ExitCode() == 128+int(syscall.SIGKILL) || exit.ExitCode() == 128+int(syscall.SIGTERM) || exit.ExitCode() < 0)
}

// status describes how a program ended.
func status(err error) string {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err.Error()
	}
	if code := exit.ExitCode(); code > 128 && code < 128+65 {
		return fmt.Sprintf("the signal %d", code-128)
	}
	return exit.ProcessState.String()
}

// tail keeps the end of what is written to it.
type tail struct {
	kept []byte
	log  func(line string)
	line []byte // the beginning of a line, for log; bounded
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	if t.kept = append(t.kept, p...); len(t.kept) > 2*maxComplaint {
		t.kept = append([]byte(nil), t.kept[len(t.kept)-maxComplaint:]...)
	}
	if t.log == nil {
		return len(p), nil
	}
	for _, c := range p {
		switch {
		case c == '\n':
			t.log(string(t.line))
			t.line = t.line[:0]
		case len(t.line) < maxComplaint:
			t.line = append(t.line, c)
		}
	}
	return len(p), nil
}

// said returns the last lines for a message.
func (t *tail) said() string {
	text := strings.ToValidUTF8(strings.TrimSpace(string(t.kept[max(0, len(t.kept)-maxComplaint):])), "\uFFFD")
	if text == "" {
		return ""
	}
	return "; its last lines: " + text
}
