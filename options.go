package batchagent

import (
	"log/slog"

	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

// Option says where a batch runs and what it has there.
type Option func(*coordinator.Program)

// Backend is the URL of the model server, such as vllm://127.0.0.1:8000; docs/backends.md lists the kinds. Without it,
// BATCHAGENT_BACKEND in the environment is, and else an OpenAI-compatible server on 127.0.0.1:8000. With [Redis] workers
// use their own.
func Backend(url string) Option { return func(p *coordinator.Program) { p.Backend = url } }

// Simulated lets a simulated server answer, for tests of the program around: outputs match the schema and mean nothing.
func Simulated() Option { return func(p *coordinator.Program) { p.Simulated = true } }

// Redis runs the batch on the workers of a cluster, which share it through the Redis at this URL. Functions as tools are
// not for clusters. A program that is killed and started again, with the same batch and inputs, goes on with what it
// began.
func Redis(url string) Option { return func(p *coordinator.Program) { p.Redis = url } }

// Reuse takes the outputs of earlier batches for jobs that ask the same, instead of running them: from a results file, or,
// with [Redis], from the batch with this ID, or, for "owner", from all batches of the same Owner. docs/results.md says what counts as
// the same.
func Reuse(from string) Option { return func(p *coordinator.Program) { p.Reuse = from } }

// ToolsRoot is the folder that read_file and its like see. Defaults to the current one.
func ToolsRoot(dir string) Option { return func(p *coordinator.Program) { p.ToolsRoot = dir } }

// ToolsFile is a tools.yaml, with MCP servers, commands and HTTP services as tools. Workers of a cluster have their own.
func ToolsFile(path string) Option { return func(p *coordinator.Program) { p.ToolsFile = path } }

// Logger is where the batch says what happens. Defaults to nowhere.
func Logger(l *slog.Logger) Option { return func(p *coordinator.Program) { p.Logger = l } }

func programOf(options []Option) *coordinator.Program {
	p := &coordinator.Program{Local: dial.DefaultAddress}
	for _, o := range options {
		o(p)
	}
	return p
}
