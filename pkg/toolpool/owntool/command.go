package owntool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/pkg/internal/capture"
	"github.com/batchagent/batchagent/pkg/internal/confine"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultOutput = 64 << 10
	maxComplaint  = 2 << 10 // of standard error in a failure
)

// Command is a tool that runs a program.
type Command struct {
	Name        string
	Description string
	Parameters  json.RawMessage // JSON Schema of an object
	// Argv is the program and its arguments, without a shell. {name} is replaced by that argument, within one element.
	// An element is omitted if it has placeholders but none of their optional arguments is given.
	Argv  []string
	Stdin bool     // send the arguments as JSON on standard input
	Env   []string // NAME=value; the program gets only these, PATH and, for effects, BATCHAGENT_IDEMPOTENCY_KEY
	Dir   string   // working folder; defaults to the worker's
	// MaxOutput limits the kept bytes of standard output; the rest is counted and dropped. Defaults to 64 KiB.
	MaxOutput int
	// Secrets are redacted in the output before it is cut. Nil redacts nothing.
	Secrets *redact.Secrets
}

// Tool checks the command and returns its tool. Overlapping calls share one execution; set Share if the command has side effects.
func (c Command) Tool() (toolpool.Tool, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return toolpool.Tool{}, fmt.Errorf("command %s: argv is empty", c.Name)
	}
	if len(names(c.Argv[0])) > 0 {
		return toolpool.Tool{}, fmt.Errorf("command %s: the program itself must not hold a placeholder", c.Name)
	}
	if err := checkPlaceholders(c.Parameters, c.Argv...); err != nil {
		return toolpool.Tool{}, fmt.Errorf("command %s: %w", c.Name, err)
	}
	program, err := exec.LookPath(c.Argv[0])
	if err != nil {
		return toolpool.Tool{}, fmt.Errorf("command %s: there is no program %q on this machine", c.Name, c.Argv[0])
	}
	if c.MaxOutput <= 0 {
		c.MaxOutput = defaultOutput
	}
	env := append([]string{"PATH=" + os.Getenv("PATH")}, c.Env...)
	return toolpool.Tool{
		Name: c.Name, Description: c.Description, Parameters: c.Parameters, MaxBytes: c.MaxOutput + 200,
		Run: func(ctx context.Context, raw json.RawMessage) (string, error) {
			args, err := readArgs(raw)
			if err != nil {
				return "", err
			}
			argv, err := c.fillArgv(args)
			if err != nil {
				return "", err
			}
			cmd := exec.CommandContext(ctx, program, argv...)
			cmd.Dir, cmd.Env = c.Dir, env
			if key := toolpool.IdempotencyKey(ctx); key != "" {
				cmd.Env = append(slices.Clone(env), "BATCHAGENT_IDEMPOTENCY_KEY="+key)
			}
			if c.Stdin {
				cmd.Stdin = bytes.NewReader(raw)
			}
			return runCommand(ctx, cmd, c)
		},
	}, nil
}

// fillArgv returns the program's arguments. A value must not become an option: at the start of an element before "--"
// it must not begin with "-", unless it is a number.
func (c Command) fillArgv(args map[string]any) ([]string, error) {
	var argv []string
	ended := false // "--" occurred
	for _, element := range c.Argv[1:] {
		wanted := names(element)
		text, given := fill(element, args, func(s string) string { return s })
		switch {
		case len(wanted) > 0 && !given:
			continue
		case strings.ContainsRune(text, 0):
			return nil, errors.New("an argument holds a NUL character")
		case !ended && strings.HasPrefix(element, "{") && len(wanted) > 0 && strings.HasPrefix(text, "-"):
			if _, number := args[wanted[0]].(json.Number); !number {
				return nil, fmt.Errorf("%q must not begin with \"-\"", wanted[0])
			}
		}
		ended = ended || element == "--"
		argv = append(argv, text)
	}
	return argv, nil
}

// runCommand runs the process in its own group. It kills the group when the process or the call has ended, so that no
// child remains. On Linux the process dies with the worker.
func runCommand(ctx context.Context, cmd *exec.Cmd, c Command) (string, error) {
	out, complaint := capture.NewHead(c.MaxOutput), capture.NewHead(maxComplaint)
	stdout, stderr := c.Secrets.Writer(out), c.Secrets.Writer(complaint)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = confine.Attributes()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 500 * time.Millisecond // for children that keep the output open
	if err := cmd.Start(); errors.Is(err, syscall.E2BIG) {
		return "", errors.New("the arguments are too long for a command; make them shorter")
	} else if err != nil {
		return "", fmt.Errorf("%s cannot be started; the operator of the worker must fix it", c.Name)
	}
	err := cmd.Wait()
	_, _ = stdout.Close(), stderr.Close()               // a Head accepts every write
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails if the group is empty, as it should be
	switch exit, _ := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return out.Text(), nil
	case exit != nil:
		said := strings.TrimSpace(complaint.Text())
		if said == "" {
			said = strings.TrimSpace(out.Text())
		}
		return "", fmt.Errorf("%s ended with %s: %s", c.Name, exit.ProcessState, said)
	default:
		return "", fmt.Errorf("%s failed: %w", c.Name, err)
	}
}
