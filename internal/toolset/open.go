package toolset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/pkg/loopback"
	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/strictyaml"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
	"github.com/batchagent/batchagent/pkg/toolpool/mcptool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// Options are the inputs of tools that tools.yaml does not contain.
type Options struct {
	Root    string                           // the folder of the file tools
	Drivers map[string]func() sqltool.Driver // by scheme: postgres, sqlite
	Getenv  func(string) string
	Logger  *slog.Logger // nil discards the records
}

// Set is a set of open tools. The caller closes it after the last call.
type Set struct {
	Tools []toolpool.Tool
	// Programs are those that specs can name as their agent.
	Programs []program.Program
	// Files is where large files of programs go: a folder, or s3://bucket/prefix. "" has no such place.
	Files string
	// Secrets are the values that must not occur in results.
	Secrets *redact.Secrets

	proxy     func(*http.Request) (*url.URL, error) // nil reaches services directly
	transport *http.Transport                       // to services, through the proxy
	close     []func()
}

// Close closes servers, connections and files, the last opened first.
func (s *Set) Close() {
	for _, c := range slices.Backward(s.close) {
		c()
	}
	s.close = nil
}

// Open starts the servers and opens the databases of the file, and creates all tools. MCP servers start in parallel. If one
// fails to start, Open fails, because its tools would be missing. ctx limits the start.
func Open(ctx context.Context, f *File, o Options) (_ *Set, err error) {
	s := &Set{Programs: f.programs, Files: f.files}
	if s.proxy, err = toolProxy(o.Getenv); err != nil {
		return nil, err
	}
	s.transport = &http.Transport{Proxy: s.proxy, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second}
	s.close = append(s.close, s.transport.CloseIdleConnections)
	f.findSearch(o.Getenv)
	s.Secrets = redact.New(append(ownKeys(o.Getenv), f.secrets...)...)
	defer func() {
		if err != nil {
			s.Close()
			err = s.Secrets.Error(err)
		}
	}()
	if err := s.files(o.Root); err != nil {
		return nil, err
	}
	if err := s.builtins(f, o); err != nil {
		return nil, err
	}
	if err := s.databases(ctx, f, o); err != nil {
		return nil, err
	}
	if err := s.own(f); err != nil {
		return nil, err
	}
	if err := s.servers(ctx, f, o.Logger); err != nil {
		return nil, err
	}
	if err := s.adjust(f); err != nil {
		return nil, err
	}
	for i, t := range s.Tools {
		s.Tools[i] = discreet(t, s.Secrets)
	}
	return s, nil
}

func (s *Set) files(root string) error {
	if root == "" {
		root = "."
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("--tools-root: %w", err)
	}
	s.close = append(s.close, func() { _ = dir.Close() })
	place, err := filepath.Abs(root)
	if err == nil {
		place, err = filepath.EvalSymlinks(place)
	}
	if err != nil {
		return fmt.Errorf("--tools-root: %w", err)
	}
	s.add(place, builtin.ReadFile(dir, s.Secrets), builtin.ListFiles(dir), builtin.GrepFiles(dir, s.Secrets))
	return nil
}

func (s *Set) builtins(f *File, o Options) error {
	if !f.noGet {
		s.add(f.get, builtin.HTTPGet(f.get, s.Secrets))
	}
	if f.search != nil {
		s.Tools = append(s.Tools, builtin.WebSearch(f.search.provider, f.search.key, s.Secrets, s.transport))
	}
	if f.eval {
		s.Tools = append(s.Tools, builtin.PythonEval())
	}
	return nil
}

func (s *Set) databases(ctx context.Context, f *File, o Options) error {
	var queried []*sqltool.Source
	var places []string
	for _, d := range f.sources {
		driver, ok := o.Drivers[d.scheme]
		if !ok {
			return fmt.Errorf("%s: sql.%s: this program was built without databases; build it with `-tags sql`, or use a worker", f.Path, d.config.Name)
		}
		d.config.Driver, d.config.Secrets = driver(), s.Secrets
		source, err := sqltool.Open(d.config)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		s.close = append(s.close, func() { _ = source.Close() })
		place := withoutPassword(d.config.DSN)
		s.add([]any{d.config.Name, place, d.config.MaxRows}, source.Tools()...)
		if !d.noQuery {
			if err := checkRole(ctx, source); err != nil {
				return fmt.Errorf("%s: sql.%s: %w", f.Path, d.config.Name, err)
			}
			queried = append(queried, source)
			places = append(places, d.config.Name, place, strconv.Itoa(d.config.MaxRows))
		}
	}
	if len(queried) > 0 {
		s.add(places, sqltool.QueryTool(queried))
	}
	return nil
}

// checkRole reports to the operator at the start the error that models would get at each call. A database that does not answer
// in time does not keep the worker from starting.
func checkRole(ctx context.Context, s *sqltool.Source) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.Check(ctx)
}

func (s *Set) own(f *File) error {
	for _, c := range f.commands {
		c.Secrets = s.Secrets
		t, err := c.Tool()
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		s.add([]any{c.Argv, c.Stdin, c.Dir, openValues(c.Env)}, t)
	}
	for _, h := range f.http {
		h.Secrets = s.Secrets
		t, err := h.Tool(s.transport)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		s.add([]any{h.Method, withoutLocalPort(h.URL), h.Query, h.Body}, t)
	}
	return nil
}

// withoutLocalPort returns the URL of a service without its port if it runs on this machine. A program that serves its own functions
// listens on another port in each run, and its tools stay the same.
func withoutLocalPort(service string) string {
	u, err := url.Parse(service)
	if err != nil || !loopback.Host(u.Hostname()) {
		return service
	}
	u.Host = u.Hostname()
	return u.String()
}

// servers starts all MCP servers and waits for their tools.
func (s *Set) servers(ctx context.Context, f *File, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	clients, errs := make([]*mcptool.Client, len(f.servers)), make([]error, len(f.servers))
	var starting sync.WaitGroup
	for i, v := range f.servers {
		starting.Go(func() {
			clients[i], errs[i] = mcptool.Connect(ctx, mcptool.Server{
				Name: v.name, Command: v.command, Args: v.args, Env: v.env, Dir: v.dir, URL: v.url, Headers: v.headers,
				StartTimeout: v.start, Logger: log, Secrets: s.Secrets, Proxy: s.proxy,
				Stderr: func(line string) { log.Debug(line, "mcp_server", v.name) },
			})
		})
	}
	starting.Wait()
	for _, c := range clients {
		if c != nil {
			s.close = append(s.close, c.Close)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	for i, c := range clients {
		v := f.servers[i]
		for _, t := range c.Tools() {
			// A tool with an unusable schema must not keep the worker from starting.
			if err := toolpool.Check(t); err != nil {
				log.Warn("MCP tool is skipped", "tool", toolpool.SpecName(t.Name), "reason", err)
				continue
			}
			s.add([]any{v.command, v.args, v.dir, v.url, openValues(v.env)}, t)
		}
	}
	return nil
}

// add adds tools to the set. asks describes their source, such as a folder or a service, and becomes part of their version: on
// another node, tools of the same name may have another source, and their results must not be shared. Only a hash of asks
// leaves the process.
func (s *Set) add(asks any, tools ...toolpool.Tool) {
	text, err := json.Marshal(asks)
	if err != nil {
		text = []byte(err.Error()) // strings and numbers always encode
	}
	sum := sha256.Sum256(text)
	for _, t := range tools {
		t.Version = strings.TrimSpace(t.Version + " " + hex.EncodeToString(sum[:8]))
		s.Tools = append(s.Tools, t)
	}
}

// withoutPassword returns a database's address without its password.
func withoutPassword(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		return dsn
	}
	u.User = url.User(u.User.Username())
	return u.String()
}

// openValues returns the variables that are not secret.
func openValues(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return secretName.MatchString(name)
	})
}

// adjust applies the operator's settings. A setting for an unknown tool is an error.
func (s *Set) adjust(f *File) error {
	var mistakes strictyaml.Errors
	for _, set := range f.settings {
		i := slices.IndexFunc(s.Tools, func(t toolpool.Tool) bool { return t.Name == toolpool.WireName(set.name) })
		if i < 0 {
			mistakes = append(mistakes, &strictyaml.FieldError{
				File: f.Path, Line: set.line, Field: "tools." + set.name,
				Message: fmt.Sprintf("there is no such tool; the nearest name is %q", strictyaml.Nearest(set.name, slices.Sorted(slices.Values(s.Names())))),
			})
			continue
		}
		if set.off {
			s.Tools = slices.Delete(s.Tools, i, i+1)
			continue
		}
		s.Tools[i] = set.apply(s.Tools[i])
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

// Names returns the names of the tools as specs use them, sorted.
func (s *Set) Names() []string {
	names := make([]string, len(s.Tools))
	for i, t := range s.Tools {
		names[i] = toolpool.SpecName(t.Name)
	}
	slices.Sort(names)
	return names
}

// Register adds all tools to a pool.
func (s *Set) Register(p *toolpool.Pool) error {
	for _, t := range s.Tools {
		if err := p.Register(t); err != nil {
			return err
		}
	}
	return nil
}

// findSearch selects the first search service with a key in the environment, unless the file selects one or none.
func (f *File) findSearch(getenv func(string) string) {
	if f.search != nil || f.noSearch || getenv == nil {
		return
	}
	for _, p := range builtin.SearchProviders {
		if key := getenv(p.KeyEnv); key != "" {
			f.secrets = append(f.secrets, key)
			f.search = &searchKey{p, key}
			return
		}
	}
}

// toolProxy returns the proxy for the operator's services. It ignores HTTP_PROXY, which is meant for model servers: headers of
// tools hold keys, and that proxy could read them.
func toolProxy(getenv func(string) string) (func(*http.Request) (*url.URL, error), error) {
	if getenv == nil || getenv("BATCHAGENT_TOOLS_PROXY") == "" {
		return nil, nil
	}
	u, err := url.Parse(getenv("BATCHAGENT_TOOLS_PROXY"))
	if err != nil || u.Host == "" {
		return nil, errors.New("BATCHAGENT_TOOLS_PROXY is not a URL such as http://proxy:3128")
	}
	return http.ProxyURL(u), nil
}

// ownKeys returns the secrets of this process. No tool gets them, but a service or file may contain one.
func ownKeys(getenv func(string) string) []string {
	if getenv == nil {
		return nil
	}
	var keys []string
	for _, name := range config.Keys {
		keys = append(keys, getenv(name))
	}
	return keys
}

// discreet strikes secrets out of a tool's results. A service may repeat a key that it refuses.
func discreet(t toolpool.Tool, secrets *redact.Secrets) toolpool.Tool {
	run := t.Run
	t.Run = func(ctx context.Context, args json.RawMessage) (string, error) {
		text, err := run(ctx, args)
		return secrets.Text(text), secrets.Error(err)
	}
	return t
}
