package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// resuming returns the arguments of the command that continues this run: with every flag that was given, on the command line or in
// the environment. --resume comes first; --force is left out, because it has done its work.
func resuming(c *cli.Context, program string) []string {
	args := append(programArgs(program), c.Command.Name, "--resume")
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "resume" || name == "force" || !c.IsSet(name) {
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
	spec := c.Args().First()
	if strings.HasPrefix(spec, "-") {
		args = append(args, "--")
	}
	return append(args, spec)
}

// programArgs starts this program as the user did. What `go run` built is gone when the run ends.
func programArgs(program string) []string {
	if strings.Contains(filepath.ToSlash(program), "/go-build") {
		return []string{"go", "run", "./cmd/coordinator"}
	}
	return []string{program}
}
