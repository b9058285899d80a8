package program

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/spec"
)

// maxVariable is the longest task that is in the environment, too, in bytes. Linux limits a variable to 128 KiB.
const maxVariable = 100 << 10

// Program is a program as its operator declares it.
type Program struct {
	Name string
	// Argv is the program and its arguments, without a shell. {task}, {input}, {model}, {url} and {args.NAME} are replaced within an
	// element.
	Argv    []string
	Env     []string // NAME=value, besides PATH, HOME, TMPDIR and the variables of the contract
	Inherit bool     // the program gets all variables of this process, too
	Dir     string   // the working folder; "" makes an empty one for each job
	Timeout time.Duration
	// Memory limits the writable private memory of each process, and with Docker the memory of the container, in bytes. 0 does not limit
	// it.
	Memory int64
	// Isolation is how much of the machine the program sees.
	Isolation Isolation
	Image     string   // with Docker: the image
	Network   bool     // with Bubblewrap and Docker: the program reaches more than the job's URL
	Read      []string // with Bubblewrap and Docker: folders of the machine that the program may read
	Serve     bool     // one process serves many jobs
	// SetUp are commands that run in the working folder before the program, in the same isolation.
	SetUp [][]string
}

// Job is one attempt at a job.
type Job struct {
	Description
	Output    string // the file with the answer; "" takes standard output
	Workspace *spec.Workspace
}

// Description describes a job to its program. Its JSON form is part of the contract in docs/agents.md.
type Description struct {
	Job    string                     `json:"job"`          // "<batch>/job-<index>"
	ID     string                     `json:"id,omitempty"` // the user's own key
	Task   string                     `json:"task"`
	System string                     `json:"system,omitempty"`
	Input  json.RawMessage            `json:"input"`
	Schema json.RawMessage            `json:"schema,omitempty"`
	Args   map[string]json.RawMessage `json:"args,omitempty"`
	Model  string                     `json:"model"`
	URL    string                     `json:"url"`     // of the job's model APIs, without /v1
	MCPURL string                     `json:"mcp_url"` // of the job's tools
}

// Answer is what a program leaves.
type Answer struct {
	Text  string
	Files map[string]batch.File
	Diff  string
	// DiffFile is the diff if it is too large for a result. Nil otherwise.
	DiffFile *batch.File
}

// Runner runs jobs of programs that run once. Safe for concurrent use.
type Runner struct {
	Folders *Folders
	Root    string // the folder that workspaces come from
	Secrets *redact.Secrets
	// Files keeps collected files that are too large for a result. Nil cuts them.
	Files Store
	// Log gets each line that a program writes to standard error. Nil drops them.
	Log func(job, line string)
}

// Run runs a program for one job. Errors are those of [Process.Run]; a *batch.Error is the job's failure.
func (r *Runner) Run(ctx context.Context, p Program, j Job) (Answer, error) {
	d, err := r.Folders.open()
	if err != nil {
		return Answer{}, err
	}
	defer d.remove()
	env, err := d.contract(p, j)
	if err != nil {
		return Answer{}, err
	}
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		limit := batch.NewError(batch.Timeout, fmt.Sprintf("the program ran longer than its limit of %s", p.Timeout))
		ctx, cancel = context.WithTimeoutCause(ctx, p.Timeout, limit)
		defer cancel()
	}
	if err := d.fill(ctx, j.Workspace, r.Root, env); err != nil {
		return Answer{}, err
	}
	dir := d.work
	if p.Dir != "" && j.Workspace == nil {
		dir = p.Dir
	}
	inside := isolated{p, j, d, dir, r.Folders}
	for _, argv := range p.SetUp {
		if _, err := inside.run(ctx, Process{Argv: argv, Env: env, Secrets: r.Secrets}); err != nil {
			return Answer{}, fmt.Errorf("set up the working folder: %w", err)
		}
	}
	process := Process{Env: env, Stdin: []byte(j.Task), Secrets: r.Secrets}
	if process.Argv, err = fill(p.Argv, j.Description, d); err != nil {
		return Answer{}, err
	}
	if r.Log != nil {
		process.Log = func(line string) { r.Log(j.Job, line) }
	}
	text, err := inside.run(ctx, process)
	if err != nil {
		return Answer{}, err
	}
	return r.answer(ctx, d, j, text)
}

// answer returns the answer of a program that has ended and printed text.
func (r *Runner) answer(ctx context.Context, d *folder, j Job, text string) (a Answer, err error) {
	if j.Output != "" {
		if text, err = d.readAnswer(j.Output); err != nil {
			return Answer{}, err
		}
		text = r.Secrets.Text(text)
	}
	a.Text = strings.TrimRight(text, "\n") // as a shell does
	if j.Workspace != nil {
		err = r.collectAll(ctx, d, j, &a)
	}
	return a, err
}

// contract writes the files that describe the job and returns the program's environment.
func (d *folder) contract(p Program, j Job) ([]string, error) {
	description, err := json.Marshal(j.Description)
	if err != nil {
		return nil, fmt.Errorf("describe the job: %w", err)
	}
	files := map[string][]byte{"task.txt": []byte(j.Task), "input.json": j.Input, "job.json": description}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.job, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("describe the job: %w", err)
		}
	}
	var env []string
	if p.Inherit {
		env = slices.DeleteFunc(os.Environ(), func(v string) bool { return secretVariable.MatchString(v) })
	} else {
		env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.work, "LANG=C.UTF-8"}
	}
	env = append(env, p.Env...)
	env = append(env, "TMPDIR="+d.temp,
		"BATCHAGENT_TASK_FILE="+filepath.Join(d.job, "task.txt"),
		"BATCHAGENT_INPUT="+filepath.Join(d.job, "input.json"),
		"BATCHAGENT_JOB="+filepath.Join(d.job, "job.json"),
		"BATCHAGENT_MODEL="+j.Model, "BATCHAGENT_MCP_URL="+j.MCPURL,
		"OPENAI_BASE_URL="+j.URL+"/v1", "OPENAI_API_BASE="+j.URL+"/v1", "OPENAI_API_KEY="+placeholderKey,
		"ANTHROPIC_BASE_URL="+j.URL, "ANTHROPIC_API_KEY="+placeholderKey,
	)
	if len(j.Task) <= maxVariable && !strings.ContainsRune(j.Task, 0) {
		env = append(env, "BATCHAGENT_TASK="+j.Task)
	}
	return env, nil
}

// placeholderKey is the key that clients must have. The URL is the secret.
const placeholderKey = "batchagent"

// secretVariable matches the variables of the engine that a program never gets. It needs none of them: the engine makes its calls.
var secretVariable = regexp.MustCompile(`^(BATCHAGENT_|[A-Z0-9_]*API_KEY=|AWS_)`)

var placeholder = regexp.MustCompile(`\{(task|input|model|url|args\.[A-Za-z0-9_]+)\}`)

// fill replaces the placeholders of a command. A value must not become an option.
func fill(argv []string, j Description, d *folder) ([]string, error) {
	out := make([]string, len(argv))
	ended := false // "--" occurred
	for i, element := range argv {
		var unknown error
		out[i] = placeholder.ReplaceAllStringFunc(element, func(name string) string {
			value, ok := j.value(name[1:len(name)-1], d)
			if !ok {
				unknown = batch.NewError(batch.ProgramFailed, fmt.Sprintf("the program needs %s, and the spec's agent.args has no such name", name))
			}
			return value
		})
		switch {
		case unknown != nil:
			return nil, unknown
		case strings.ContainsRune(out[i], 0):
			return nil, batch.NewError(batch.BadInput, "an argument of the program holds a NUL character")
		case !ended && i > 0 && placeholder.FindStringIndex(element) != nil && element[0] == '{' && strings.HasPrefix(out[i], "-"):
			return nil, batch.NewError(batch.BadInput, fmt.Sprintf("%s must not begin with \"-\": the program would read it as an option", element))
		}
		ended = ended || element == "--"
	}
	return out, nil
}

// value returns the value of a placeholder.
func (j Description) value(name string, d *folder) (string, bool) {
	switch name {
	case "task":
		return j.Task, true
	case "input":
		return filepath.Join(d.job, "input.json"), true
	case "model":
		return j.Model, true
	case "url":
		return j.URL, true
	}
	raw, ok := j.Args[strings.TrimPrefix(name, "args.")]
	if !ok {
		return "", false
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return text, true
}

// Server returns the server of a program with Serve. Its process listens on the Unix socket in BATCHAGENT_SOCKET.
func (r *Runner) Server(p Program) *Server {
	return NewServer(p.Name, filepath.Join(r.Folders.root, "serve-"+p.Name), func(ctx context.Context, socket string) error {
		d, err := r.Folders.open()
		if err != nil {
			return err
		}
		defer d.remove()
		defer func() { _ = os.Remove(socket) }()
		argv, err := fill(p.Argv, Description{}, d)
		if err != nil {
			return err
		}
		process := Process{Argv: argv, Dir: d.work, Memory: p.Memory, Secrets: r.Secrets, Env: append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + d.work, "LANG=C.UTF-8", "TMPDIR=" + d.temp, socketVariable + "=" + socket,
		}, p.Env...)}
		if p.Dir != "" {
			process.Dir = p.Dir
		}
		if r.Log != nil {
			process.Log = func(line string) { r.Log(p.Name, line) }
		}
		_, err = process.Run(ctx)
		return err
	})
}
