// Package programs runs the programs of a worker's jobs: it connects package program, which runs processes, with package gateway, which
// serves their calls.
package programs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/batchagent/batchagent/internal/gateway"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Config configures a host.
type Config struct {
	Declared []program.Program // of tools.yaml
	// Own runs the commands and sockets that specs bring. Only a run on the user's own machine may set it.
	Own     bool
	Root    string // --tools-root: the folder that workspaces come from
	SpecDir string // with Own: files beside the spec are passed to commands as absolute paths
	Temp    string // the folder for temporary files. Defaults to the system's.
	// Files is where collected files go that are too large for a result: a folder, or s3://bucket/prefix. "" cuts them.
	Files   string
	Getenv  func(string) string // Defaults to os.Getenv.
	Secrets *redact.Secrets
	Logger  *slog.Logger // Defaults to none.
}

// Host runs programs. It opens its folders and its port with the first job. Safe for concurrent use.
type Host struct {
	cfg   Config
	files *files // nil cuts large files
	once  sync.Once
	err   error // of the opening

	folders *program.Folders
	gateway *gateway.Gateway
	runner  *program.Runner

	mu      sync.Mutex
	servers map[string]*program.Server // guarded by mu; by name or socket
}

// New returns a host. A *fault.UsageError: Files cannot be used.
func New(cfg Config) (*Host, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Root == "" {
		cfg.Root = "."
	}
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	h := &Host{cfg: cfg, servers: map[string]*program.Server{}}
	var err error
	if cfg.Files != "" {
		h.files, err = openFiles(cfg.Files, cfg.Getenv, cfg.Logger)
	}
	return h, err
}

// Names returns the names of the declared programs, sorted.
func (h *Host) Names() []string {
	var out []string
	for _, p := range h.cfg.Declared {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

// Needs returns the names in the form of a spec's needs.
func (h *Host) Needs() []string {
	out := h.Names()
	for i, name := range out {
		out[i] = spec.NeedOf(name)
	}
	return out
}

// Check returns an error if this machine cannot run one of the needed programs, for example because it has no sandbox. needs has the form
// of a spec's needs. Check may pull the images of containers.
func (h *Host) Check(ctx context.Context, needs []string) error {
	for _, p := range h.cfg.Declared {
		if !slices.Contains(needs, spec.NeedOf(p.Name)) {
			continue
		}
		err := p.Check(ctx, func(image string) {
			h.cfg.Logger.Info("pulling the image of a program", "program", p.Name, "image", image)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Runs returns nil if the host can run the agent of a spec.
func (h *Host) Runs(a *spec.Agent) error {
	_, err := h.find(a)
	return err
}

// find returns the program of a spec.
func (h *Host) find(a *spec.Agent) (program.Program, error) {
	switch {
	case a.Own() && !h.cfg.Own:
		return program.Program{}, errors.New("a spec cannot bring its own command to a cluster")
	case a.Own():
		p := program.Program{Argv: h.absolute(a.Command), Inherit: true}
		if a.Workspace == nil {
			p.Dir, _ = os.Getwd() // "" is an empty folder
		}
		return p, nil
	}
	i := slices.IndexFunc(h.cfg.Declared, func(p program.Program) bool { return p.Name == a.Program })
	if i < 0 {
		return program.Program{}, fmt.Errorf("it has no program %q", a.Program)
	}
	return h.cfg.Declared[i], nil
}

// absolute replaces the names of files beside the spec by their absolute paths, because a program may run in another folder.
func (h *Host) absolute(argv []string) []string {
	out := slices.Clone(argv)
	for i, element := range argv {
		if filepath.IsAbs(element) || strings.HasPrefix(element, "-") || i == 0 && !strings.ContainsRune(element, filepath.Separator) {
			continue
		}
		path, err := filepath.Abs(filepath.Join(h.cfg.SpecDir, element))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			out[i] = path
		}
	}
	return out
}

// Run runs the program of one job; see [agent.Program].
func (h *Host) Run(ctx context.Context, job batch.Job, model string, t agent.ProgramTask, calls *agent.ProgramCalls) (agent.ProgramAnswer, error) {
	p, err := h.find(t.Agent)
	if err != nil {
		return agent.ProgramAnswer{}, err
	}
	if h.once.Do(h.open); h.err != nil {
		return agent.ProgramAnswer{}, h.err
	}
	url, end := h.gateway.Job(calls)
	defer end()
	j := program.Job{Output: t.Agent.Output, Workspace: t.Agent.Workspace, Description: program.Description{
		Job: job.String(), ID: t.ID, Task: t.Task, System: t.System, Input: t.Input, Schema: t.Schema, Args: t.Agent.Args,
		Model: model, URL: url, MCPURL: url + "/mcp",
	}}
	if t.Agent.Socket != "" || p.Serve {
		text, err := h.server(t.Agent.Socket, p).Run(ctx, j.Description)
		if errors.Is(err, program.ErrGone) {
			err = fmt.Errorf("%w: %w", agent.ErrRestart, err)
		}
		return agent.ProgramAnswer{Text: text}, err
	}
	answer, err := h.runner.Run(ctx, p, j)
	if errors.Is(err, program.ErrKilled) {
		err = fmt.Errorf("%w: %w", agent.ErrRestart, err)
	}
	return agent.ProgramAnswer(answer), err
}

func (h *Host) open() {
	if h.folders, h.err = program.OpenFolders(h.cfg.Temp); h.err != nil {
		return
	}
	if h.gateway, h.err = gateway.Open(h.folders.Socket(), h.cfg.Logger); h.err != nil {
		return
	}
	h.runner = &program.Runner{
		Folders: h.folders, Root: h.cfg.Root, Secrets: h.cfg.Secrets,
		Log: func(job, line string) { h.cfg.Logger.Debug(line, "program_of", job) },
	}
	if h.files != nil { // a nil *files is no nil Store
		h.runner.Files = h.files
	}
}

// server returns the server of a program that serves many jobs.
func (h *Host) server(socket string, p program.Program) *program.Server {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := socket + p.Name
	s := h.servers[key]
	switch {
	case s != nil:
	case socket != "":
		s = program.NewServer("the program at "+socket, socket, nil)
	default:
		s = h.runner.Server(p)
	}
	h.servers[key] = s
	return s
}

// Close ends the programs that serve many jobs, and removes all folders. No job may run.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.servers {
		s.Close()
	}
	if h.gateway != nil {
		_ = h.gateway.Close()
	}
	if h.files != nil {
		h.files.close()
	}
	if h.folders != nil {
		if err := h.folders.Close(); err != nil {
			h.cfg.Logger.Warn("could not remove the folders of programs", "error", err)
		}
	}
}
