package spec

import (
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// Names of the fields that put a program in place of the agent loop.
const (
	agentField     = "agent"
	workspaceField = "workspace"
)

// Limits of an agent's settings. They are far above sensible use and catch typos.
const (
	maxArguments  = 64       // elements of a command, and names of args
	maxArgument   = 16 << 10 // bytes of one of them
	maxCollected  = 64       // patterns of a workspace
	programTurns  = 200      // default of max_turns for a program
	maxSetUpSteps = 32       // commands that set up a workspace
)

// Agent is the program that runs as the agent of each job. Exactly one of Program, Command and Socket is set. docs/agents.md
// describes the program's side.
type Agent struct {
	// Program is the name of a program in the tools.yaml of the workers.
	Program string `json:"program,omitempty"`
	// Command is a program and its arguments, without a shell. Only a run on the user's own machine may have it.
	Command []string `json:"command,omitempty"`
	// Socket is the path of a Unix socket where a program serves many jobs. Only a run on the user's own machine may have it.
	Socket string `json:"socket,omitempty"`
	// Args are values for the program, by name. The job's description has them.
	Args map[string]json.RawMessage `json:"args,omitempty"`
	// Output is the file that holds the answer, relative to the working folder. "" takes the program's standard output.
	Output string `json:"output,omitempty"`
	// Workspace fills the working folder of each attempt. Nil leaves it empty.
	Workspace *Workspace `json:"workspace,omitempty"`
}

// Workspace is the content of a job's working folder. Each attempt gets a fresh one.
type Workspace struct {
	// From is a folder or a Git bundle below the worker's --tools-root. "" is an empty folder.
	From string `json:"from,omitempty"`
	// At is the commit of the bundle. "" is its HEAD.
	At string `json:"at,omitempty"`
	// Run are commands that run in the folder before the program. Only an Agent with a Command may have them.
	Run [][]string `json:"run,omitempty"`
	// Collect are patterns of files that the result contains. Paths are relative to the folder.
	Collect []string `json:"collect,omitempty"`
	// Diff adds the changes of the folder to the result, in the format of `git diff`.
	Diff bool `json:"diff,omitempty"`
}

// Own reports whether the spec brings the program, so that it runs only on the user's own machine.
func (a *Agent) Own() bool { return a.Command != nil || a.Socket != "" }

// asked returns the part of a that decides answers. The path of a socket may differ in each run.
func (a *Agent) asked() *Agent {
	if a == nil || a.Socket == "" {
		return a
	}
	out := *a
	out.Socket = "any"
	return &out
}

// programNeed is the prefix of a program's name among the needs of a spec, and among the tools in a worker's record.
const programNeed = "program:"

// NeedOf returns a program's name as a need, see [Compiled.Needs].
func NeedOf(program string) string { return programNeed + program }

// ProgramOf returns the name of the program that a need stands for.
func ProgramOf(need string) (program string, ok bool) { return strings.CutPrefix(need, programNeed) }

var programName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// agent reads the program of the jobs.
//
//	agent:
//	  program: mini-swe            # or  command: [python, agent.py]
//	  args: {max_steps: 20}
//	  output: answer.json
func (l *loader) agent(field string, n ast.Node) {
	a := &Agent{}
	l.spec.settings.Agent = a
	before := len(l.Errs)
	l.Fields(field, n,
		strictyaml.Field{Name: "program", Read: func(f string, n ast.Node) {
			if a.Program, _ = l.Text(f, n); !programName.MatchString(a.Program) {
				l.Failf(n, f, "must be the name of a program in the workers' tools.yaml, such as mini-swe")
			}
		}},
		strictyaml.Field{Name: "command", Read: func(f string, n ast.Node) { a.Command = l.command(f, n) }},
		strictyaml.Field{Name: "socket", Read: func(f string, n ast.Node) { a.Socket, _ = l.Text(f, n) }},
		strictyaml.Field{Name: "args", Read: func(f string, n ast.Node) { a.Args = l.agentArgs(f, n) }},
		strictyaml.Field{Name: "output", Read: func(f string, n ast.Node) { a.Output, _ = l.localPath(f, n) }},
	)
	named := 0
	for _, given := range []bool{a.Program != "", a.Command != nil, a.Socket != ""} {
		if given {
			named++
		}
	}
	if named != 1 && len(l.Errs) == before {
		l.Failf(n, field, "must have program (of the workers' tools.yaml), or command or socket (for a run on your own machine), and only one of them")
	}
	if a.Socket != "" && a.Output != "" {
		l.Failf(n, field, "output is a file of a process; a program on a socket sends its answer")
	}
}

func (l *loader) command(field string, n ast.Node) (out []string) {
	l.List(field, n, func(field string, n ast.Node) {
		text, ok := l.Text(field, n)
		switch {
		case !ok:
		case len(text) > maxArgument || strings.ContainsRune(text, 0):
			l.Failf(n, field, "must be a text of at most %d bytes", maxArgument)
		case text == "" && out == nil:
			l.Failf(n, field, "must name a program")
		}
		out = append(out, text)
	})
	switch {
	case len(out) == 0:
		l.Failf(n, field, "must be a list with a program and its arguments, such as [python, agent.py]")
	case len(out) > maxArguments:
		l.Failf(n, field, "must have at most %d elements", maxArguments)
	}
	return out
}

func (l *loader) agentArgs(field string, n ast.Node) map[string]json.RawMessage {
	text, ok := l.JSON(field, n)
	if !ok {
		return nil
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(text, &out); err != nil || len(out) > maxArguments {
		l.Failf(n, field, "must be a mapping with at most %d names", maxArguments)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if len(out[name]) > maxArgument {
			l.Failf(n, field, "%s has more than %d bytes", strictyaml.Shorten(name), maxArgument)
		}
	}
	return out
}

// localPath reads a path that stays in a folder.
func (l *loader) localPath(field string, n ast.Node) (string, bool) {
	v, ok := l.Text(field, n)
	if !ok {
		return "", false
	}
	if !isLocal(v) {
		l.Failf(n, field, "must be a path inside the working folder, not %q", strictyaml.Shorten(v))
		return "", false
	}
	return path.Clean(v), true
}

func isLocal(p string) bool {
	clean := path.Clean(p)
	return p != "" && len(p) <= maxName && !path.IsAbs(p) && clean != ".." && !strings.HasPrefix(clean, "../") && !strings.ContainsAny(p, "\x00\\")
}

// workspace reads the content of the working folder.
func (l *loader) workspace(field string, n ast.Node) {
	w := &Workspace{}
	l.workFolder = w
	l.Fields(field, n,
		strictyaml.Field{Name: "from", Read: func(f string, n ast.Node) { w.From, _ = l.localPath(f, n) }},
		strictyaml.Field{Name: "at", Read: func(f string, n ast.Node) {
			if w.At, _ = l.Text(f, n); !commitName.MatchString(w.At) {
				l.Failf(n, f, "must be a commit or the name of a branch or tag")
			}
		}},
		strictyaml.Field{Name: "run", Read: func(f string, n ast.Node) {
			l.List(f, n, func(f string, n ast.Node) { w.Run = append(w.Run, l.command(f, n)) })
			if len(w.Run) > maxSetUpSteps {
				l.Failf(n, f, "must have at most %d commands", maxSetUpSteps)
			}
		}},
		strictyaml.Field{Name: "collect", Read: func(f string, n ast.Node) {
			l.List(f, n, func(f string, n ast.Node) {
				pattern, ok := l.localPath(f, n)
				if _, err := path.Match(pattern, ""); ok && err != nil {
					l.Failf(n, f, "is no pattern: %v", err)
				}
				w.Collect = append(w.Collect, pattern)
			})
			if len(w.Collect) > maxCollected {
				l.Failf(n, f, "must have at most %d patterns", maxCollected)
			}
		}},
		strictyaml.Field{Name: "diff", Read: l.flag(&w.Diff)},
	)
	if w.At != "" && w.From == "" {
		l.Failf(n, field, "at is a commit of the bundle in from")
	}
}

var commitName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$`)

// finishAgent checks the fields of the program against the others.
func (l *loader) finishAgent(top ast.Node) {
	a := l.spec.settings.Agent
	if a == nil {
		if l.workFolder != nil {
			l.Failf(top, workspaceField, "is the working folder of a program; name the program in agent")
		}
		return
	}
	a.Workspace = l.workFolder
	if l.workFolder != nil && len(l.workFolder.Run) > 0 && a.Command == nil {
		l.Failf(top, workspaceField, "run needs agent.command; the operator writes the commands of a program into tools.yaml")
	}
	if l.workFolder != nil && a.Socket != "" {
		l.Failf(top, workspaceField, "needs a process of its own for each job; a program on a socket serves many")
	}
	if len(l.spec.settings.Preload) > 0 || len(l.spec.preloads) > 0 {
		l.Failf(top, preloadField, "puts results in front of a prompt of ours; a program makes its own calls")
	}
	if !l.turnsGiven {
		l.spec.settings.MaxTurns = programTurns
	}
	if !l.spec.task.given {
		l.spec.task = prompt{given: true, field: "task", file: l.File, wording: parseWording("")}
	}
	l.spec.literal = l.spec.literal || l.spec.task.text == ""
}

// input returns the input of a program's job: all its fields.
func (p *Payload) input() map[string]any {
	if p.Item != nil {
		return p.Input
	}
	if p.Carry == nil {
		return map[string]any{}
	}
	return p.Carry
}
