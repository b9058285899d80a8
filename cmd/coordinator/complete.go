package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// completeCommand is the hidden command that the shell scripts call. Its arguments are the words typed so far; the
	// incomplete word is last.
	completeCommand = "__complete"
	// completeTime limits the wait for batch IDs, so that the shell does not hang.
	completeTime = time.Second
	// completeBatches limits the number of batch IDs.
	completeBatches = 50
)

// scripts call completeCommand. The user evaluates a script, or saves it where the shell looks for completions. In the
// second case zsh runs the file as the body of a function, at the first call too.
var scripts = map[string]string{
	"bash": `_coordinator() {
  local -a words
  read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
  [[ "${COMP_LINE:0:COMP_POINT}" == *" " ]] && words+=("")
  mapfile -t COMPREPLY < <("${words[0]}" ` + completeCommand + ` "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _coordinator coordinator
`,
	"zsh": `#compdef coordinator
_coordinator() {
  local -a found
  found=("${(@f)$("${words[1]}" ` + completeCommand + ` "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
if [[ ${funcstack[1]-} == _coordinator ]]; then _coordinator "$@"; else compdef _coordinator coordinator; fi
`,
	"fish": `complete -c coordinator -a '(set -l words (commandline -opc); $words[1] ` + completeCommand + ` $words[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "completion", ArgsUsage: "SHELL", Usage: "print the script that lets bash, zsh or fish complete commands, flags and batch IDs",
		Description: `bash:  source <(coordinator completion bash)
zsh:   source <(coordinator completion zsh)
fish:  coordinator completion fish | source`,
		Action: func(c *cli.Context) error {
			shell, err := one(c, "shell")
			if err != nil {
				return err
			}
			script, ok := scripts[shell]
			if !ok {
				return &fault.UsageError{Err: fmt.Errorf("no completion script for %q; use bash, zsh or fish", shell)}
			}
			_, err = fmt.Fprint(e.console.Stdout(), strings.ReplaceAll(script, "coordinator", c.App.Name))
			return err
		},
	}
}

// values lists the words that a flag accepts.
var values = map[string][]string{
	"format": collect.Formats, "log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"},
}

// completions returns the completions of the last word. If it is empty, the shell completes file names.
func completions(ctx context.Context, commands []*cli.Command, words []string, getenv func(string) string) []string {
	if len(words) == 0 {
		return nil
	}
	typed := words[len(words)-1]
	if len(words) == 1 {
		var names []string
		for _, c := range commands {
			names = append(names, c.Name)
		}
		return startingWith(typed, append(names, "--help", "--version"))
	}
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(words[0]) })
	if i < 0 {
		return nil
	}
	c, before := commands[i], words[1:len(words)-1]
	if len(before) > 0 {
		if flag := strings.TrimLeft(before[len(before)-1], "-"); strings.HasPrefix(before[len(before)-1], "-") && takesValue(c, flag) {
			return startingWith(typed, values[flag])
		}
	}
	switch {
	case strings.HasPrefix(typed, "-"):
		return startingWith(typed, unused(c, before))
	case c.ArgsUsage == "BATCH":
		return startingWith(typed, knownBatches(ctx, before, getenv))
	case c.Name == "completion":
		return startingWith(typed, []string{"bash", "zsh", "fish"})
	}
	return nil
}

func startingWith(typed string, words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, typed) })
}

func takesValue(c *cli.Command, name string) bool {
	return slices.ContainsFunc(c.Flags, func(f cli.Flag) bool {
		_, isBool := f.(*cli.BoolFlag)
		return !isBool && slices.Contains(f.Names(), name)
	})
}

// unused returns the flags that are not on the command line.
func unused(c *cli.Command, before []string) []string {
	var out []string
	for _, f := range c.Flags {
		flag := "--" + f.Names()[0]
		given := func(w string) bool { return w == flag || strings.HasPrefix(w, flag+"=") }
		if !slices.ContainsFunc(before, given) {
			out = append(out, flag)
		}
	}
	return append(out, "--help")
}

// knownBatches returns the newest batches of the named Redis or server. It returns nil on any error, because completion
// cannot report errors.
func knownBatches(ctx context.Context, before []string, getenv func(string) string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	named := func(flag, otherwise string) string {
		for i, w := range before {
			if value, ok := strings.CutPrefix(w, "--"+flag+"="); ok {
				return value
			}
			if w == "--"+flag && i+1 < len(before) {
				return before[i+1]
			}
		}
		if v := getenv(config.Env(flag)[0]); v != "" {
			return v
		}
		return otherwise
	}
	var ids []string
	if url := named("server", ""); url != "" {
		if s, err := client.New(url, getenv(tokenVariable), nil); err == nil {
			defer s.Close()
			list, _ := s.List(ctx, completeBatches)
			for _, b := range list {
				ids = append(ids, string(b.ID))
			}
		}
	} else if to, err := config.ReadRedis(named("redis", config.DefaultRedis), getenv); err == nil {
		if store, err := statestore.Open(ctx, to.URL, statestore.Options{TLS: to.TLS}); err == nil {
			defer store.Close()
			infos, _ := store.Newest(ctx, completeBatches)
			for _, info := range infos {
				ids = append(ids, string(info.ID))
			}
		}
	}
	return ids[:min(len(ids), completeBatches)]
}
