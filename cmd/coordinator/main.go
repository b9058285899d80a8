// Command coordinator submits batches, watches them, collects their results, and runs a batch on this machine alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/hardening"
	"github.com/batchagent/batchagent/internal/lifeline"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/version"
)

// streams holds the standard streams and the environment of the process.
type streams struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

func main() {
	if len(os.Args) > 1 {
		if program := programs[os.Args[1]]; program != nil {
			name := programIn(nameIn(os.Args), os.Args[1])
			os.Args = os.Args[1:]
			program(name)
			return
		}
	}
	lookup, err := hardening.TakeKeys(config.Keys)
	if err != nil {
		fmt.Fprintln(os.Stderr, "coordinator:", err)
		os.Exit(terminal.ExitUsage)
	}
	getenv := hardening.Getenv(lookup)
	lifeline.Hold(getenv)
	_ = hardening.Undumpable() // not supported by every kernel
	hardening.LimitMemory(os.Getenv)
	os.Exit(run(context.Background(), os.Args, streams{os.Stdin, os.Stdout, os.Stderr, getenv}))
}

// programs are the other programs in this one, by the argument that selects them: `batchagent worker --redis …`. They get the command that
// starts them. They are in builds with the tag wheel alone. The worker needs the drivers of all databases, which `go run ./cmd/coordinator` would have to compile first.
var programs = map[string]func(name string){}

// allInOne is the name of the file that is all three programs.
const allInOne = "batchagent"

// nameIn returns the name that the program was started by.
func nameIn(args []string) string {
	if len(args) > 0 && filepath.Base(args[0]) == allInOne {
		return allInOne
	}
	return "coordinator"
}

// programIn returns the command that starts another program from the program name.
func programIn(name, other string) string {
	if name == allInOne {
		return name + " " + other
	}
	return other
}

const description = `batchagent runs one LLM-agent task over many inputs: a prompt template, a list of inputs, tools and an
output schema go in, one JSON result per input comes out.

On one machine, with nothing else installed:

   coordinator run examples/code-review/batch.yaml
   coordinator run spec.yaml --backend vllm://gpu-host:8000 --out results.jsonl

On a cluster of workers around Redis (see "worker --help"):

   B=$(coordinator submit spec.yaml --redis redis://redis-host:6379)
   coordinator results $B --follow --out results.jsonl

Results go to standard output, everything else to standard error. Exit status: 0 every job ok, 1 at least one
job failed, 2 usage, spec or input error and nothing submitted, 3 Redis or a backend cannot be reached,
4 the command ended early, for example because the budget is used up, 130 interrupted.`

// run runs one command. The first interrupt stops it in order, a second one at once.
func run(ctx context.Context, args []string, s streams) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	con := terminal.NewConsole(s.out, s.err)
	name := nameIn(args)
	if name == allInOne {
		con.NameCommands(name)
	}
	app := &cli.App{
		Name:            name,
		Usage:           "submit, watch and collect batches of LLM agents",
		Description:     strings.NewReplacer("coordinator ", name+" ", `"worker `, `"`+programIn(name, "worker")+" ").Replace(description),
		Version:         version.String(),
		Writer:          con.Stderr(),
		ErrWriter:       con.Stderr(),
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    usage,
		Commands:        commands(s, con),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &fault.UsageError{Err: fmt.Errorf("unknown command %q; `%s --help` lists them", c.Args().First(), name)}
			}
			return cli.ShowAppHelp(c)
		},
	}
	if len(args) > 1 && args[1] == completeCommand {
		for _, word := range completions(ctx, app.Commands, args[2:], s.getenv) {
			fmt.Fprintln(s.out, word)
		}
		return terminal.ExitOK
	}
	err := app.RunContext(ctx, flagsFirst(app, args))
	if err != nil && !errors.Is(err, fault.ErrJobsFailed) && !errors.Is(err, context.Canceled) && !terminal.Quiet(err) {
		fmt.Fprintln(con.Stderr(), name+":", terminal.Message(err, name))
	}
	return terminal.ExitStatus(ctx, err)
}

func usage(c *cli.Context, err error, _ bool) error {
	name := c.App.Name
	if c.Command.Name != name {
		name = strings.TrimSpace(name + " " + c.Command.Name)
	}
	return &fault.UsageError{Err: fmt.Errorf("%w; `%s --help` explains the flags", err, name)}
}

// flagsFirst moves a command's flags before its arguments, because the flag parser stops at the first argument.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 3 {
		return args
	}
	var cmd *cli.Command
	for _, c := range app.Commands {
		if c.HasName(args[1]) {
			cmd = c
		}
	}
	if cmd == nil {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
		}
	}
	flags, rest := []string{args[0], args[1]}, []string{}
	for i := 2; i < len(args); i++ {
		a := args[i]
		name := strings.TrimLeft(a, "-")
		switch {
		case a == "--":
			return append(append(flags, rest...), args[i+1:]...)
		case len(a) < 2 || a[0] != '-':
			rest = append(rest, a)
		case takesValue[name] && i+1 < len(args):
			flags = append(flags, a, args[i+1])
			i++
		default:
			flags = append(flags, a)
		}
	}
	return append(flags, rest...)
}
