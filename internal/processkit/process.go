// Package processkit starts programs for tests and benchmarks: it builds them, runs them on loopback, waits until they are ready, keeps
// the end of their output, and ends each by its process ID.
//
// It owns the processes that it started and their directories. Each process has one goroutine that waits for it. Memory and CPU
// time come from /proc, so they are known on Linux only.
package processkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build compiles packages into dir. from is the module's folder.
func Build(ctx context.Context, dir, from string, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// FreeAddress returns an unused loopback address.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Process is one running program.
type Process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait; read after ended is closed

	log tail
}

// Start runs a program. Its output is kept for error messages; stdout may be redirected.
func Start(program string, stdout *os.File, args ...string) (*Process, error) {
	p := &Process{name: filepath.Base(program), ended: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	p.cmd.SysProcAttr = sysProcAttr()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns the end of the process's output.
func (p *Process) Log() string { return p.log.String() }

// Wait waits for the process to end by itself.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w\n%s", p.name, context.Cause(ctx), p.Log())
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.Log())
		}
		return nil
	}
}

// stopWithin is the time limit after SIGTERM.
const stopWithin = 5 * time.Second

// Stop sends SIGTERM, and kills the process after stopWithin.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// Signal sends the process a signal, such as SIGSTOP.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits for its end. It may be called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode returns the exit code of an ended process.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// Until polls ready until it returns true, the process ends, or ctx is done.
func (p *Process) Until(ctx context.Context, what string, ready func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before %s:\n%s", p.name, what, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s: wait until %s: %w\n%s", p.name, what, context.Cause(ctx), p.Log())
		case <-tick.C:
		}
	}
	return nil
}

// Memory is a process's resident memory in bytes: its current and its peak value.
type Memory struct{ Now, Peak int64 }

// Memory returns the process's resident memory. It returns an error after the process has ended.
func (p *Process) Memory() (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of %s: %w", p.name, err)
	}
	var m Memory
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			m.Now = kib << 10
		case "VmHWM:":
			m.Peak = kib << 10
		}
	}
	if m.Peak == 0 {
		return m, fmt.Errorf("read the memory of %s: %w", p.name, errors.New("it has ended"))
	}
	return m, nil
}

// PeakAtEnd returns the peak resident memory of an ended process, in bytes.
func (p *Process) PeakAtEnd() int64 {
	<-p.ended
	if u, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss << 10
	}
	return 0
}

// ticksPerSecond is the unit of /proc/PID/stat on every Linux that Go runs on.
const ticksPerSecond = 100

// CPU returns the processor time of the process.
func (p *Process) CPU() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0
	}
	// The command's name is in parentheses and may contain spaces. User and system time are fields 14 and 15.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// tail keeps the last tailBytes to 2 tailBytes written to it.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const tailBytes = 1 << 20

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if len(t.text) > 2*tailBytes {
		t.text = append(t.text[:0], t.text[len(t.text)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
