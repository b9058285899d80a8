package batchagent

import (
	"log/slog"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

// Option sets the model server, the tools or the log of a batch that runs in this process. The functions that return an Option
// describe it. The zero value has no effect.
type Option struct{ set func(*localrun.Program) }

// Backend sets the URL of the model server, such as vllm://127.0.0.1:8000. docs/backends.md lists the kinds. Defaults to the
// environment variable BATCHAGENT_BACKEND, and then to an OpenAI-compatible server on 127.0.0.1:8000.
func Backend(url string) Option { return Option{func(p *localrun.Program) { p.Backend = url }} }

// Simulated selects a simulated model server, for tests of your program. Outputs match the schema and have no meaning.
func Simulated() Option { return Option{func(p *localrun.Program) { p.Simulated = true }} }

// ToolsRoot sets the folder that read_file and the other file tools read. Defaults to the current folder.
func ToolsRoot(dir string) Option { return Option{func(p *localrun.Program) { p.ToolsRoot = dir }} }

// ToolsFile sets the path of a tools.yaml, which declares MCP servers, commands and HTTP services as tools. Defaults to none.
func ToolsFile(path string) Option {
	return Option{func(p *localrun.Program) { p.ToolsFile = path }}
}

// Logger sets the logger of the batch. Defaults to none: nothing is logged.
func Logger(l *slog.Logger) Option { return Option{func(p *localrun.Program) { p.Logger = l }} }

func configure(p *localrun.Program, options []Option) {
	p.Local = dial.DefaultAddress
	for _, o := range options {
		if o.set != nil {
			o.set(p)
		}
	}
}
