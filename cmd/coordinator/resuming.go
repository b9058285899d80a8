package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/pkg/batch"
)

// resuming returns the arguments of the command that continues this run, with all flags from the command line and the
// environment. --resume comes first, unless --rerun is given. --force is omitted, because it has already taken effect.
func resuming(c *cli.Context, program string) []string {
	args := append(programArgs(program), c.Command.Name)
	if !c.IsSet("rerun") { // a condition selects the rows that are left
		args = append(args, "--resume")
	}
	args = append(args, given(c, func(flag string) bool { return flag != "resume" && flag != "force" })...)
	spec := c.Args().First()
	if strings.HasPrefix(spec, "-") {
		args = append(args, "--")
	}
	return append(args, spec)
}

// following returns the arguments of the command that follows a batch again after results or submit was interrupted.
func following(c *cli.Context, program string, id batch.ID) []string {
	args := append(programArgs(program), "results", string(id), "--follow")
	flags := []string{"redis", "server", "token-file", "out", "format", "ordered", "consume"}
	return append(args, given(c, func(flag string) bool { return slices.Contains(flags, flag) })...)
}

// given returns the flags that were set on the command line or in the environment and that keep accepts.
func given(c *cli.Context, keep func(flag string) bool) []string {
	var args []string
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if !keep(name) || !c.IsSet(name) {
			continue
		}
		value := fmt.Sprint(c.Value(name))
		_, isBool := f.(*cli.BoolFlag)
		switch {
		case isBool && c.Bool(name):
			args = append(args, "--"+name)
		case isBool, value == "", strings.HasPrefix(value, "-"):
			args = append(args, "--"+name+"="+value)
		default:
			args = append(args, "--"+name, value)
		}
	}
	return args
}

// programArgs returns the arguments that start this program. A binary built by `go run` is deleted after the run, so it
// returns `go run`.
func programArgs(program string) []string {
	if strings.Contains(filepath.ToSlash(program), "/go-build") {
		return []string{"go", "run", "./cmd/coordinator"}
	}
	return []string{program}
}
