package toolset

import (
	"encoding/json"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/jsonschema"
	"github.com/batchagent/batchagent/pkg/strictyaml"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
)

const (
	maxWait   = time.Hour
	maxTTL    = 30 * 24 * time.Hour
	maxResult = 16 << 20
	maxRows   = 100_000
	maxBurst  = 1_000_000
	minSecret = 6 // bytes; striking out shorter texts would damage ordinary results
)

// builtins are the names that a declared tool must not have.
var builtins = []string{"read_file", "list_files", "grep_files", "http_get", "web_search", "python_eval", "sql_query"}

var (
	toolName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	serverName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?$`)
	keyName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
)

// names has the other names of fields. Those of specs are in package spec.
var names = strictyaml.NamesOf(map[string]string{
	"tools": "tool functions function mcp mcp_servers",
	"ttl":   "expires expire expires_after retention ttl_seconds",
})

// Read reads a tools.yaml. lookup is os.LookupEnv or similar. It returns all mistakes at once, each with file, line and field,
// and without values of variables. It starts no server and opens no connection.
func Read(path string, lookup func(string) (string, bool)) (*File, error) {
	l := &loader{file: &File{Path: path}, dir: filepath.Dir(path), lookup: lookup, taken: map[string]int{}}
	err := strictyaml.ReadFile(path, names, func(r *strictyaml.Reader, top strictyaml.Node) {
		l.Reader = r
		l.load(top)
	})
	if err != nil {
		return nil, err
	}
	return l.file, nil
}

// loader reads one tools.yaml.
type loader struct {
	*strictyaml.Reader
	file   *File
	dir    string
	lookup func(string) (string, bool)
	taken  map[string]int // the line of each declared tool
}

func (l *loader) load(top strictyaml.Node) {
	f := l.file
	l.Fields("", top,
		strictyaml.Field{Name: "mcpServers", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.server) }},
		strictyaml.Field{Name: "commands", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.command) }},
		strictyaml.Field{Name: "http", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.httpTool) }},
		strictyaml.Field{Name: "sql", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.source) }},
		strictyaml.Field{Name: "programs", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.program) }},
		strictyaml.Field{Name: "files", Read: l.filesOfPrograms},
		strictyaml.Field{Name: "http_get", Read: l.httpGet},
		strictyaml.Field{Name: "web_search", Read: l.webSearch},
		strictyaml.Field{Name: "python_eval", Read: func(field string, n strictyaml.Node) { f.eval, _ = l.Bool(field, n) }},
		strictyaml.Field{Name: "tools", Read: func(field string, n strictyaml.Node) { l.Entries(field, n, l.setting) }},
	)
}

// text reads text into a field and replaces ${NAME} with variables of the environment.
func (l *loader) text(to *string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		if v, ok := l.Text(field, n); ok {
			*to, _ = l.expand(field, n, v)
		}
	}
}

func (l *loader) expand(field string, n strictyaml.Node, text string) (string, bool) {
	return l.Expand(field, n, text, func(name string) (string, bool) {
		v, ok := l.lookup(name)
		if len(v) >= minSecret {
			l.file.secrets = append(l.file.secrets, v)
		}
		return v, ok
	})
}

// plain reads text without replacing ${NAME}.
func (l *loader) plain(to *string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) { *to, _ = l.Text(field, n) }
}

func (l *loader) texts(to *[]string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		l.List(field, n, func(field string, n strictyaml.Node) {
			var v string
			l.text(&v)(field, n)
			*to = append(*to, v)
		})
	}
}

func (l *loader) textMap(to *map[string]string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		*to = map[string]string{}
		l.Entries(field, n, func(key, field string, n strictyaml.Node) {
			var v string
			l.text(&v)(field, n)
			(*to)[key] = v
		})
	}
}

// env reads NAME: value, or a list of variables to copy from the worker's environment.
func (l *loader) env(to *[]string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		if !l.IsList(n) {
			var m map[string]string
			l.textMap(&m)(field, n)
			for _, name := range slices.Sorted(maps.Keys(m)) {
				*to = append(*to, name+"="+m[name])
			}
			return
		}
		l.List(field, n, func(field string, n strictyaml.Node) {
			name, ok := l.Text(field, n)
			if v, set := l.lookup(name); ok && set {
				*to = append(*to, name+"="+v)
				if len(v) >= minSecret && secretName.MatchString(name) {
					l.file.secrets = append(l.file.secrets, v)
				}
			}
		})
	}
}

// secretName matches the names of copied variables that hold a secret. Others, like HOME, may have values that occur in
// results.
var secretName = regexp.MustCompile(`(?i)key|token|secret|pass|credential|dsn|auth`)

func (l *loader) wait(to *time.Duration, high time.Duration) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) { *to, _ = l.Duration(field, n, time.Millisecond, high) }
}

func (l *loader) count(to *int, high int64) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		v, _ := l.Int(field, n, 1, high)
		*to = int(v)
	}
}

// path reads a path relative to the file's folder.
func (l *loader) path(to *string) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		l.text(to)(field, n)
		l.relative(to)
	}
}

// relative makes a path absolute if the file's folder is.
func (l *loader) relative(path *string) {
	if *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(l.dir, *path)
	}
}

// parameters reads a tool's JSON Schema.
func (l *loader) parameters(to *json.RawMessage) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		text, ok := l.JSON(field, n)
		if !ok {
			return
		}
		report, err := jsonschema.Lint(text)
		if err != nil {
			l.Failf(n, field, "must be a JSON Schema: %v", err)
			return
		}
		for _, p := range report.Problems {
			l.Failf(n, field, "must be a JSON Schema: %v", p)
		}
		if len(report.Problems) > 0 {
			return
		}
		var head struct{ Type any }
		if json.Unmarshal(report.Schema, &head) != nil || head.Type != "object" {
			l.Failf(n, field, "must be a JSON Schema with type: object")
			return
		}
		*to = report.Schema
	}
}

// declare checks that the name of a tool is valid and unused.
func (l *loader) declare(name, field string, n strictyaml.Node) {
	switch {
	case !toolName.MatchString(name) || strings.Contains(name, "__"):
		l.Failf(n, field, "a tool's name has 1 to 64 letters, digits, - and single _")
	case slices.Contains(builtins, name):
		l.Failf(n, field, "is the name of a built-in tool; choose another")
	case l.taken[name] > 0:
		l.Failf(n, field, "is declared twice, first on line %d", l.taken[name])
	default:
		l.taken[name] = strictyaml.LineOf(n)
	}
}

// need reports a missing field.
func (l *loader) need(n strictyaml.Node, field, name string, given bool) {
	if !given {
		l.Failf(n, field, "%s is missing", name)
	}
}

func (l *loader) command(name, field string, n strictyaml.Node) {
	l.declare(name, field, n)
	c := owntool.Command{Name: name, Dir: l.dir, Parameters: json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)}
	s := setting{name: name}
	l.Fields(field, n, append(l.limits(&s),
		strictyaml.Field{Name: "description", Read: l.plain(&c.Description)},
		strictyaml.Field{Name: "parameters", Read: l.parameters(&c.Parameters)},
		strictyaml.Field{Name: "argv", Read: l.texts(&c.Argv)},
		strictyaml.Field{Name: "stdin", Read: func(field string, n strictyaml.Node) { c.Stdin = l.sendsJSON(field, n) }},
		strictyaml.Field{Name: "env", Read: l.env(&c.Env)},
		strictyaml.Field{Name: "dir", Read: l.path(&c.Dir)},
	)...)
	l.need(n, field, "description", c.Description != "")
	l.need(n, field, "argv", len(c.Argv) > 0)
	c.MaxOutput = s.maxBytes
	s.maxBytes = 0
	l.file.commands = append(l.file.commands, c)
	l.file.settings = append(l.file.settings, s)
}

// sendsJSON reads the format of sent arguments. Only json is valid.
func (l *loader) sendsJSON(field string, n strictyaml.Node) bool {
	v, ok := l.Text(field, n)
	if ok && v != "json" {
		l.Failf(n, field, "must be json, not %q", v)
	}
	return ok
}

func (l *loader) httpTool(name, field string, n strictyaml.Node) {
	l.declare(name, field, n)
	h := owntool.HTTP{Name: name, Parameters: json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)}
	s := setting{name: name}
	l.Fields(field, n, append(l.limits(&s),
		strictyaml.Field{Name: "description", Read: l.plain(&h.Description)},
		strictyaml.Field{Name: "parameters", Read: l.parameters(&h.Parameters)},
		strictyaml.Field{Name: "method", Read: func(field string, n strictyaml.Node) {
			h.Method, _ = l.Text(field, n)
			if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, h.Method) {
				l.Failf(n, field, "must be GET, POST, PUT, PATCH or DELETE")
			}
		}},
		strictyaml.Field{Name: "url", Read: l.text(&h.URL)},
		strictyaml.Field{Name: "query", Read: l.textMap(&h.Query)},
		strictyaml.Field{Name: "headers", Read: l.textMap(&h.Headers)},
		strictyaml.Field{Name: "body", Read: func(field string, n strictyaml.Node) { h.Body = l.sendsJSON(field, n) }},
	)...)
	l.need(n, field, "description", h.Description != "")
	l.need(n, field, "url", h.URL != "")
	if _, err := h.Tool(nil); err != nil && h.URL != "" {
		l.Failf(n, field, "%v", err)
	}
	h.MaxAnswer = s.maxBytes
	s.maxBytes = 0
	l.file.http = append(l.file.http, h)
	l.file.settings = append(l.file.settings, s)
}

// limits returns the fields that every tool can have.
func (l *loader) limits(s *setting) []strictyaml.Field {
	return []strictyaml.Field{
		{Name: "share", Read: func(field string, n strictyaml.Node) {
			v, _ := l.Text(field, n)
			all := []toolpool.Share{toolpool.Pure, toolpool.ForTTL, toolpool.Inflight, toolpool.Effect}
			if s.share = toolpool.Share(v); !slices.Contains(all, s.share) {
				l.Failf(n, field, "must be %s, %s, %s or %s", all[0], all[1], all[2], all[3])
			}
		}},
		{Name: "ttl", Read: l.wait(&s.ttl, maxTTL)},
		{Name: "timeout", Read: l.wait(&s.timeout, maxWait)},
		{Name: "max_bytes", Read: l.count(&s.maxBytes, maxResult)},
		{Name: "max_tokens", Read: l.count(&s.maxTokens, maxResult)},
		{Name: "rate", Read: l.rate(s)},
		{Name: "burst", Read: l.count(&s.limit.Burst, maxBurst)},
		{Name: "concurrency", Read: l.count(&s.limit.Concurrency, maxBurst)},
		{Name: "on_unknown", Read: func(field string, n strictyaml.Node) {
			v, _ := l.Text(field, n)
			all := []toolpool.OnUnknown{toolpool.FailJob, toolpool.Repeat, toolpool.Ask}
			if s.onUnknown = toolpool.OnUnknown(v); !slices.Contains(all, s.onUnknown) {
				l.Failf(n, field, "must be %s, %s or %s", all[0], all[1], all[2])
			}
		}},
	}
}

// rate reads how often a tool may run in the whole cluster, as 5/s, 100/m or 1000/h.
func (l *loader) rate(s *setting) func(string, strictyaml.Node) {
	return func(field string, n strictyaml.Node) {
		v, ok := l.Text(field, n)
		if !ok {
			return
		}
		number, span, _ := strings.Cut(v, "/")
		per := map[string]float64{"s": 1, "m": 60, "h": 3600}[span]
		r, err := strconv.ParseFloat(number, 64)
		if err != nil || per == 0 || !(r > 0) || r > maxBurst {
			l.Failf(n, field, "must be a number and a span, such as 5/s, 100/m or 1000/h")
			return
		}
		s.limit.PerSecond = r / per
	}
}

func (l *loader) setting(name, field string, n strictyaml.Node) {
	s := setting{name: name, line: strictyaml.LineOf(n)}
	if l.IsBool(n) {
		on, _ := l.Bool(field, n)
		s.off = !on
	} else {
		l.Fields(field, n, l.limits(&s)...)
	}
	if s.share == toolpool.ForTTL && s.ttl == 0 {
		l.Failf(n, field, "share: ttl needs a ttl, such as 60s")
	}
	l.file.settings = append(l.file.settings, s)
}

func (l *loader) server(name, field string, n strictyaml.Node) {
	if !serverName.MatchString(name) || strings.Contains(name, "__") {
		l.Failf(n, field, "a server's name has 1 to 32 letters, digits, - and single _, and ends with a letter or digit")
	}
	s := server{name: name}
	off, kind := false, ""
	l.Fields(field, n,
		strictyaml.Field{Name: "command", Read: l.text(&s.command)},
		strictyaml.Field{Name: "args", Read: l.texts(&s.args)},
		strictyaml.Field{Name: "env", Read: l.env(&s.env)},
		strictyaml.Field{Name: "cwd", Read: l.path(&s.dir)},
		strictyaml.Field{Name: "url", Read: l.text(&s.url)},
		strictyaml.Field{Name: "headers", Read: l.textMap(&s.headers)},
		strictyaml.Field{Name: "type", Read: func(field string, n strictyaml.Node) {
			if kind, _ = l.Text(field, n); !slices.Contains([]string{"stdio", "http", "streamable-http"}, kind) {
				l.Failf(n, field, "must be stdio or http; the older sse transport is not supported")
			}
		}},
		strictyaml.Field{Name: "disabled", Read: func(field string, n strictyaml.Node) { off, _ = l.Bool(field, n) }},
		strictyaml.Field{Name: "start_timeout", Read: l.wait(&s.start, maxWait)},
	)
	u, err := url.Parse(s.url)
	switch {
	case s.command == "" && s.url == "":
		l.Failf(n, field, "a server needs a command to start or a url to reach")
	case s.command != "" && s.url != "":
		l.Failf(n, field, "a server has a command or a url, not both")
	case s.url != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https"):
		l.Failf(n, field+".url", "must begin with https:// or http://")
	}
	if !off {
		l.file.servers = append(l.file.servers, s)
	}
}
