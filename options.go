package batchagent

import (
	"log/slog"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

// Option configures the servers, tools and logs of a batch.
type Option func(*localrun.Program)

// Backend sets the URL of the model server, such as vllm://127.0.0.1:8000. docs/backends.md lists the kinds. Defaults to the
// environment variable BATCHAGENT_BACKEND, and then to an OpenAI-compatible server on 127.0.0.1:8000. With [Redis], workers use
// their own servers.
func Backend(url string) Option { return func(p *localrun.Program) { p.Backend = url } }

// Simulated selects a simulated model server, for tests of your program. Outputs match the schema and have no meaning.
func Simulated() Option { return func(p *localrun.Program) { p.Simulated = true } }

// Redis runs the batch on the workers of a cluster, which share it through the Redis at this URL. Tools that are functions of the
// program do not work on a cluster. A restarted program resumes its batch if the batch and its inputs are the same.
func Redis(url string) Option { return func(p *localrun.Program) { p.Redis = url } }

// Reuse takes the outputs of earlier batches instead of running equal jobs. Set from to the name of a results file. With [Redis],
// set it to a batch ID, or to "owner" for all batches of the same Owner. docs/results.md defines equal jobs.
func Reuse(from string) Option { return func(p *localrun.Program) { p.Reuse = from } }

// ToolsRoot sets the folder that read_file and the other file tools read. Defaults to the current folder.
func ToolsRoot(dir string) Option { return func(p *localrun.Program) { p.ToolsRoot = dir } }

// ToolsFile sets the path of a tools.yaml, which declares MCP servers, commands and HTTP services as tools. Workers of a cluster
// have their own file.
func ToolsFile(path string) Option { return func(p *localrun.Program) { p.ToolsFile = path } }

// Logger sets the logger of the batch. By default nothing is logged.
func Logger(l *slog.Logger) Option { return func(p *localrun.Program) { p.Logger = l } }

func programOf(options []Option) *localrun.Program {
	p := &localrun.Program{Local: dial.DefaultAddress}
	for _, o := range options {
		o(p)
	}
	return p
}
