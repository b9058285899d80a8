package confine

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

const (
	// command is the first argument of a child; the second is the name of its task.
	command = "batchagent-confined"
	// maxIdle limits the idle children of a task.
	maxIdle = 2
	// lifetime divides the CPU limit: a child that has used limit/lifetime is not reused.
	lifetime = 2
)

// Limits are the limits of one child.
type Limits struct {
	Memory uint64        // bytes of writable private memory
	CPU    time.Duration // at least, for one computation; rounded up to whole seconds
}

// StoppedError reports a computation that reached a limit, or whose child died.
type StoppedError struct{ Reason string }

func (e *StoppedError) Error() string { return e.Reason }

// failure is the task's own error, as the child reported it.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// Task is a computation that runs in child processes. It is safe for concurrent use.
type Task struct {
	name   string
	limits Limits
	slots  chan struct{} // holds one value per child at work
	idle   chan *child
}

type request struct{ In []byte }

type reply struct {
	Out    []byte
	Error  string
	Failed bool
	Worn   bool // the child must not be reused
}

// New creates a task of a function. Call it at package level. In a child of the task, New serves requests and does not
// return. The function must limit its output.
func New(name string, limits Limits, run func([]byte) ([]byte, error)) *Task {
	if len(os.Args) == 3 && os.Args[1] == command && os.Args[2] == name {
		os.Exit(serve(os.Stdin, os.Stdout, limits, run))
	}
	return &Task{name: name, limits: limits, slots: make(chan struct{}, max(2, runtime.NumCPU())), idle: make(chan *child, maxIdle)}
}

// Do runs the computation in a child. It waits while too many children are working. When ctx ends, Do kills the child
// and returns ctx' error.
func (t *Task) Do(ctx context.Context, in []byte) ([]byte, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		c, reused, err := t.take()
		if err != nil {
			return nil, err
		}
		r, err := c.ask(ctx, in)
		switch {
		case err == nil && !r.Worn:
			t.keep(c)
		default:
			state := c.end()
			if err != nil && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil && reused && c.quiet {
				continue // it had exited while it was idle
			}
			if err != nil {
				return nil, t.stopped(state)
			}
		}
		if r.Failed {
			return nil, &failure{r.Error}
		}
		return r.Out, nil
	}
}

// take returns an idle child, or a new one.
func (t *Task) take() (c *child, reused bool, err error) {
	select {
	case c = <-t.idle:
		return c, true, nil
	default:
		c, err = start(t.name)
		return c, false, err
	}
}

// keep adds a child to the idle ones, or ends it if they are complete.
func (t *Task) keep(c *child) {
	select {
	case t.idle <- c:
	default:
		c.end()
	}
}

func (t *Task) stopped(state *os.ProcessState) error {
	if state != nil && state.UserTime()+state.SystemTime() >= t.limits.CPU {
		return &StoppedError{fmt.Sprintf("was stopped: it needs more than %s of computing time", t.limits.CPU)}
	}
	return &StoppedError{fmt.Sprintf("was stopped: it needs more than %d MiB of memory", t.limits.Memory>>20)}
}

// child is a process that serves one request at a time.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	enc   *gob.Encoder
	dec   *gob.Decoder
	quiet bool // it returned nothing for the last request
}

func start(name string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(exe, command, name)                                      //nolint:gosec // this program itself
	cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=2", "MALLOC_ARENA_MAX=1"} // few threads, because their stacks count as memory
	cmd.Dir = "/"
	cmd.SysProcAttr = Attributes()
	c := &child{cmd: cmd}
	if c.in, err = cmd.StdinPipe(); err == nil {
		c.out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.New("its process cannot be started; the operator of the worker must find out why")
	}
	c.enc, c.dec = gob.NewEncoder(c.in), gob.NewDecoder(c.out)
	return c, nil
}

// ask sends a request and waits for its reply. After an error the child must not be reused.
func (c *child) ask(ctx context.Context, in []byte) (reply, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() }) // fails if it has ended
	defer stop()
	began := time.Now()
	var r reply
	err := c.enc.Encode(request{in})
	if err == nil {
		err = c.dec.Decode(&r)
	}
	c.quiet = err != nil && time.Since(began) < time.Second
	return r, err
}

// end kills the child and returns its state after its exit.
func (c *child) end() *os.ProcessState {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill() // fails if it has ended
	_ = c.cmd.Wait()         // ProcessState has the result
	return c.cmd.ProcessState
}
