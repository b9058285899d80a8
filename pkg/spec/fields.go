package spec

import (
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// Upper limits. They are far above sensible use and catch typos.
const (
	maxTurns    = 1_000
	maxRetries  = 100
	maxAttempts = 100
	maxInflight = 100_000
	maxTokens   = 10_000_000
	maxPriority = 1_000
	maxStops    = 4
	maxTools    = 128
	maxLabel    = 200 // characters of a name
	maxWait     = 30 * 24 * time.Hour
	maxTTL      = 366 * 24 * time.Hour
)

// Names used by several readers.
const (
	inputsField = "inputs"
	planField   = "plan"
	fileField   = "file"

	extYAML = ".yaml"
	extYML  = ".yml"
	extJSON = ".json"
	extTSV  = ".tsv"
	extTab  = ".tab"
)

// shares are the values of a tool's share setting, the widest first. Package toolpool defines their meaning.
var shares = []string{"pure", "ttl", "inflight", "effect"}

var toolName = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)

// fields returns the readers of a spec's fields, in the order of the documentation.
func (l *loader) fields() []fieldReader {
	s, compiled := l.spec, &l.spec.settings
	return []fieldReader{
		{"name", l.label(&compiled.Name)},
		{"system_prompt", func(f string, n ast.Node) { s.system, _ = l.prompt(f, n) }},
		{"task", func(f string, n ast.Node) { s.task = l.taskPrompt(f, n) }},
		{inputsField, func(f string, n ast.Node) { s.inputs = l.readInputs(f, n) }},
		{"tools", func(f string, n ast.Node) { compiled.Tools, compiled.ToolSettings = l.tools(f, n) }},
		{"output_schema", func(f string, n ast.Node) { compiled.Schema = l.outputSchema(f, n) }},
		{planField, l.planner},
		{"reduce", l.reduce},
		{"model", l.model(compiled)},
		{"backend", func(f string, n ast.Node) { s.Backend = l.backend(f, n) }},
		{"max_inflight", l.count(&compiled.MaxInflight, 1, maxInflight)},
		{"max_turns", l.count(&compiled.MaxTurns, 1, maxTurns)},
		{"max_retries", l.count(&compiled.MaxRetries, 0, maxRetries)},
		{"max_attempts", l.count(&compiled.MaxAttempts, 1, maxAttempts)},
		{"timeouts", l.timeouts(&compiled.Timeouts)},
		{"sampling", l.sampling(&compiled.Sampling)},
		{"budget", func(f string, n ast.Node) {
			if m, ok := n.(ast.MapNode); ok && len(keysOf(m)) == 0 {
				l.failf(n, f, "limits nothing; give job, batch or both, or leave it out")
			}
			l.mapping(f, n, []fieldReader{{"job", l.budget(&compiled.JobBudget, &compiled.Prices)}, {"batch", l.budget(&compiled.BatchBudget, &compiled.Prices)}})
		}},
		{"prices", l.prices(&compiled.Prices)},
		{"priority", l.count(&compiled.Priority, -maxPriority, maxPriority)},
		{"owner", l.label(&compiled.Owner)},
		{"ttl", l.wait(&compiled.TTL, maxTTL)},
		{"keep_reasoning", func(f string, n ast.Node) {
			l.keepReasoning(&compiled.KeepReasoning)(f, n)
			compiled.KeepReasoning = compiled.KeepReasoning.stored()
		}},
		{"transcripts", l.flag(&compiled.Transcripts)},
		{"hoist", l.flag(&s.hoist)},
		{"literal", l.flag(&s.literal)},
		{"order", l.order(&compiled.Order)},
		{"on_bad_input", func(f string, n ast.Node) { s.OnBadInput = l.onBadInput(f, n) }},
		{"keep_preamble", l.flag(&l.keepPreamble)},
	}
}

// label reads a short name on one line.
func (l *loader) label(to *string) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		v, ok := l.text(field, n)
		switch {
		case !ok:
		case strings.TrimSpace(v) == "":
			l.failf(n, field, "must not be empty")
		case len([]rune(v)) > maxLabel:
			l.failf(n, field, "must have at most %d characters", maxLabel)
		case strings.ContainsFunc(v, unicode.IsControl):
			l.failf(n, field, "must be one line without control characters")
		default:
			*to = v
		}
	}
}

// anyModel is the value of model for a batch with jobs that may use different models.
const anyModel = "any"

func (l *loader) model(c *Compiled) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.label(&c.Model)(field, n)
		if c.Model == anyModel {
			c.Model, c.AnyModel = "", true
		}
	}
}

func (l *loader) count(to *int, low, high int64) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.integer(field, n, low, high); ok {
			*to = int(v)
		}
	}
}

func (l *loader) wait(to *time.Duration, high time.Duration) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.duration(field, n, time.Millisecond, high); ok {
			*to = v
		}
	}
}

func (l *loader) flag(to *bool) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.boolean(field, n); ok {
			*to = v
		}
	}
}

func (l *loader) timeouts(to *Timeouts) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.mapping(field, n, []fieldReader{
			{"turn", l.wait(&to.Turn, maxWait)},
			{"tool", l.wait(&to.Tool, maxWait)},
			{"job", l.wait(&to.Job, maxWait)},
		})
	}
}

func (l *loader) ratio(to **float64, low, high float64) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.number(field, n, low, high); ok {
			*to = &v
		}
	}
}

func (l *loader) sampling(to *Sampling) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.mapping(field, n, []fieldReader{
			{"temperature", l.ratio(&to.Temperature, 0, 2)},
			{"top_p", func(f string, n ast.Node) {
				l.ratio(&to.TopP, 0, 1)(f, n)
				if to.TopP != nil && *to.TopP == 0 {
					l.failf(n, f, "must be greater than 0 and at most 1")
				}
			}},
			{"max_tokens", l.count(&to.MaxTokens, 1, maxTokens)},
			{"seed", func(f string, n ast.Node) {
				if v, ok := l.integer(f, n, math.MinInt64, math.MaxInt64); ok {
					to.Seed = &v
				}
			}},
			{"stop", func(f string, n ast.Node) { to.Stop = l.stops(f, n) }},
			{"extra_body", func(f string, n ast.Node) { to.ExtraBody = l.extraBody(f, n) }},
		})
	}
}

func (l *loader) stops(field string, n ast.Node) []string {
	var out []string
	l.list(field, n, func(field string, n ast.Node) {
		s, ok := l.text(field, n)
		if ok && s == "" {
			l.failf(n, field, "must not be empty")
		}
		out = append(out, s)
	})
	if len(out) > maxStops {
		l.failf(n, field, "must have at most %d entries", maxStops)
	}
	return out
}

// tools reads a list of tool names. An entry may be a mapping with settings of the tool.
func (l *loader) tools(field string, n ast.Node) ([]string, map[string]ToolSetting) {
	var out []string
	settings := map[string]ToolSetting{}
	l.list(field, n, func(field string, n ast.Node) {
		name, ok := "", true
		var setting ToolSetting
		if _, isMap := n.(ast.MapNode); isMap {
			before := len(l.errs)
			l.mapping(field, n, []fieldReader{
				{"name", func(f string, n ast.Node) { name, ok = l.text(f, n) }},
				{"share", func(f string, n ast.Node) {
					if setting.Share, _ = l.text(f, n); !slices.Contains(shares, setting.Share) {
						l.failf(n, f, "must be %s", strings.Join(shares, ", "))
					}
				}},
				{"ttl", l.wait(&setting.TTL, maxTTL)},
				{"max_tokens", l.count(&setting.MaxTokens, 1, maxTokens)},
			})
			if setting.TTL > 0 && setting.Share != "" && setting.Share != "ttl" {
				l.failf(n, field, "ttl goes with share: ttl, not with share: %s", setting.Share)
			}
			ok = ok && len(l.errs) == before
		} else {
			name, ok = l.text(field, n)
		}
		switch {
		case !ok:
		case !toolName.MatchString(name):
			l.failf(n, field, "must be the name of a tool, such as read_file, not %q", shorten(name))
		case slices.Contains(out, name):
			l.failf(n, field, "names the tool %q a second time", name)
		default:
			out = append(out, name)
			if setting != (ToolSetting{}) {
				settings[name] = setting
			}
		}
	})
	if len(out) > maxTools {
		l.failf(n, field, "must have at most %d entries", maxTools)
	}
	if len(settings) == 0 {
		return out, nil
	}
	return out, settings
}

func (l *loader) onBadInput(field string, n ast.Node) OnBadInput {
	v, _ := l.text(field, n)
	if v != string(Fail) && v != string(Skip) {
		l.failf(n, field, "must be %s or %s, not %s", Fail, Skip, kindOf(n))
	}
	return OnBadInput(v)
}

func (l *loader) order(to *Order) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		switch v, _ := l.text(field, n); Order(v) {
		case OrderPrefix:
			*to = ""
		case OrderInput:
			*to = OrderInput
		default:
			l.failf(n, field, "must be %s or %s, not %s", OrderPrefix, OrderInput, kindOf(n))
		}
	}
}

var secretParameter = regexp.MustCompile(`(?i)key|token|secret|passw|auth|credential|signature`)

// backend reads a backend's URL. Messages never quote the URL: it may contain a secret (I9).
func (l *loader) backend(field string, n ast.Node) string {
	v, ok := l.text(field, n)
	if !ok {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme == "" || u.Host == "" {
		l.failf(n, field, "must be a URL such as vllm://127.0.0.1:8000")
		return ""
	}
	secret := u.User != nil
	for name := range u.Query() {
		secret = secret || secretParameter.MatchString(name)
	}
	if secret {
		l.failf(n, field, "must not hold a user, password or key: a spec is copied and stored; give the key to the worker in its environment")
		return ""
	}
	return v
}
