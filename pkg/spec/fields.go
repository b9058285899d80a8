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

	"github.com/batchagent/batchagent/pkg/strictyaml"
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
func (l *loader) fields() []strictyaml.Field {
	s, compiled := l.spec, &l.spec.settings
	return []strictyaml.Field{
		{Name: "name", Read: l.label(&compiled.Name)},
		{Name: "system_prompt", Read: func(f string, n ast.Node) { s.system, _ = l.prompt(f, n) }},
		{Name: "task", Read: func(f string, n ast.Node) { s.task = l.taskPrompt(f, n) }},
		{Name: idField, Read: l.readID},
		{Name: carryField, Read: l.readCarry},
		{Name: inputsField, Read: func(f string, n ast.Node) { s.inputs = l.readInputs(f, n) }},
		{Name: "tools", Read: func(f string, n ast.Node) { compiled.Tools, compiled.ToolSettings = l.tools(f, n) }},
		{Name: preloadField, Read: l.preloads},
		{Name: agentField, Read: l.agent},
		{Name: workspaceField, Read: l.workspace},
		{Name: "output_schema", Read: func(f string, n ast.Node) { compiled.Schema = l.outputSchema(f, n) }},
		{Name: planField, Read: l.planner},
		{Name: "reduce", Read: l.reduce},
		{Name: "model", Read: l.model(compiled)},
		{Name: "backend", Read: func(f string, n ast.Node) { s.Backend = l.backend(f, n) }},
		{Name: "max_inflight", Read: l.count(&compiled.MaxInflight, 1, maxInflight)},
		{Name: "max_turns", Read: func(f string, n ast.Node) {
			l.count(&compiled.MaxTurns, 1, maxTurns)(f, n)
			l.turnsGiven = true
		}},
		{Name: "max_retries", Read: l.count(&compiled.MaxRetries, 0, maxRetries)},
		{Name: "max_attempts", Read: l.count(&compiled.MaxAttempts, 1, maxAttempts)},
		{Name: "timeouts", Read: l.timeouts(&compiled.Timeouts)},
		{Name: "sampling", Read: l.sampling(&compiled.Sampling)},
		{Name: "budget", Read: func(f string, n ast.Node) {
			if m, ok := n.(ast.MapNode); ok && len(keysOf(m)) == 0 {
				l.Failf(n, f, "limits nothing; give job, batch or both, or leave it out")
			}
			l.Fields(f, n,
				strictyaml.Field{Name: "job", Read: l.budget(&compiled.JobBudget, &compiled.Prices)},
				strictyaml.Field{Name: "batch", Read: l.budget(&compiled.BatchBudget, &compiled.Prices)},
			)
		}},
		{Name: "prices", Read: l.prices(&compiled.Prices)},
		{Name: "priority", Read: l.count(&compiled.Priority, -maxPriority, maxPriority)},
		{Name: "owner", Read: l.label(&compiled.Owner)},
		{Name: "ttl", Read: l.wait(&compiled.TTL, maxTTL)},
		{Name: "keep_reasoning", Read: func(f string, n ast.Node) {
			l.keepReasoning(&compiled.KeepReasoning)(f, n)
			compiled.KeepReasoning = compiled.KeepReasoning.stored()
		}},
		{Name: "transcripts", Read: l.flag(&compiled.Transcripts)},
		{Name: "hoist", Read: l.flag(&s.hoist)},
		{Name: "literal", Read: l.flag(&s.literal)},
		{Name: "order", Read: l.order(&compiled.Order)},
		{Name: "identical", Read: l.identical(&compiled.Identical)},
		{Name: "on_bad_input", Read: func(f string, n ast.Node) { s.OnBadInput = l.onBadInput(f, n) }},
		{Name: "keep_preamble", Read: l.flag(&l.keepPreamble)},
	}
}

// label reads a short name on one line.
func (l *loader) label(to *string) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		v, ok := l.Text(field, n)
		switch {
		case !ok:
		case strings.TrimSpace(v) == "":
			l.Failf(n, field, "must not be empty")
		case len([]rune(v)) > maxLabel:
			l.Failf(n, field, "must have at most %d characters", maxLabel)
		case strings.ContainsFunc(v, unicode.IsControl):
			l.Failf(n, field, "must be one line without control characters")
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
		if v, ok := l.Int(field, n, low, high); ok {
			*to = int(v)
		}
	}
}

func (l *loader) wait(to *time.Duration, high time.Duration) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.Duration(field, n, time.Millisecond, high); ok {
			*to = v
		}
	}
}

func (l *loader) flag(to *bool) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.Bool(field, n); ok {
			*to = v
		}
	}
}

func (l *loader) timeouts(to *Timeouts) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.Fields(field, n,
			strictyaml.Field{Name: "turn", Read: l.wait(&to.Turn, maxWait)},
			strictyaml.Field{Name: "tool", Read: l.wait(&to.Tool, maxWait)},
			strictyaml.Field{Name: "job", Read: l.wait(&to.Job, maxWait)},
		)
	}
}

func (l *loader) ratio(to **float64, low, high float64) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		if v, ok := l.Number(field, n, low, high); ok {
			*to = &v
		}
	}
}

func (l *loader) sampling(to *Sampling) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		l.Fields(field, n,
			strictyaml.Field{Name: "temperature", Read: l.ratio(&to.Temperature, 0, 2)},
			strictyaml.Field{Name: "top_p", Read: func(f string, n ast.Node) {
				l.ratio(&to.TopP, 0, 1)(f, n)
				if to.TopP != nil && *to.TopP == 0 {
					l.Failf(n, f, "must be greater than 0 and at most 1")
				}
			}},
			strictyaml.Field{Name: "max_tokens", Read: l.count(&to.MaxTokens, 1, maxTokens)},
			strictyaml.Field{Name: "seed", Read: func(f string, n ast.Node) {
				if v, ok := l.Int(f, n, math.MinInt64, math.MaxInt64); ok {
					to.Seed = &v
				}
			}},
			strictyaml.Field{Name: "stop", Read: func(f string, n ast.Node) { to.Stop = l.stops(f, n) }},
			strictyaml.Field{Name: "extra_body", Read: func(f string, n ast.Node) { to.ExtraBody = l.extraBody(f, n) }},
		)
	}
}

func (l *loader) stops(field string, n ast.Node) []string {
	var out []string
	l.List(field, n, func(field string, n ast.Node) {
		s, ok := l.Text(field, n)
		if ok && s == "" {
			l.Failf(n, field, "must not be empty")
		}
		out = append(out, s)
	})
	if len(out) > maxStops {
		l.Failf(n, field, "must have at most %d entries", maxStops)
	}
	return out
}

// tools reads a list of tool names. An entry may be a mapping with settings of the tool.
func (l *loader) tools(field string, n ast.Node) ([]string, map[string]ToolSetting) {
	var out []string
	settings := map[string]ToolSetting{}
	l.List(field, n, func(field string, n ast.Node) {
		name, ok := "", true
		var setting ToolSetting
		if _, isMap := n.(ast.MapNode); isMap {
			before := len(l.Errs)
			l.Fields(field, n,
				strictyaml.Field{Name: "name", Read: func(f string, n ast.Node) { name, ok = l.Text(f, n) }},
				strictyaml.Field{Name: "share", Read: func(f string, n ast.Node) {
					if setting.Share, _ = l.Text(f, n); !slices.Contains(shares, setting.Share) {
						l.Failf(n, f, "must be %s", strings.Join(shares, ", "))
					}
				}},
				strictyaml.Field{Name: "ttl", Read: l.wait(&setting.TTL, maxTTL)},
				strictyaml.Field{Name: "max_tokens", Read: l.count(&setting.MaxTokens, 1, maxTokens)},
			)
			if setting.TTL > 0 && setting.Share != "" && setting.Share != "ttl" {
				l.Failf(n, field, "ttl goes with share: ttl, not with share: %s", setting.Share)
			}
			ok = ok && len(l.Errs) == before
		} else {
			name, ok = l.Text(field, n)
		}
		switch {
		case !ok:
		case !toolName.MatchString(name):
			l.Failf(n, field, "must be the name of a tool, such as read_file, not %q", strictyaml.Shorten(name))
		case slices.Contains(out, name):
			l.Failf(n, field, "names the tool %q a second time", name)
		default:
			out = append(out, name)
			if setting != (ToolSetting{}) {
				settings[name] = setting
			}
		}
	})
	if len(out) > maxTools {
		l.Failf(n, field, "must have at most %d entries", maxTools)
	}
	if len(settings) == 0 {
		return out, nil
	}
	return out, settings
}

func (l *loader) onBadInput(field string, n ast.Node) OnBadInput {
	v, _ := l.Text(field, n)
	if v != string(Fail) && v != string(Skip) {
		l.Failf(n, field, "must be %s or %s, not %s", Fail, Skip, strictyaml.KindOf(n))
	}
	return OnBadInput(v)
}

func (l *loader) order(to *Order) func(string, ast.Node) {
	return func(field string, n ast.Node) {
		switch v, _ := l.Text(field, n); Order(v) {
		case OrderPrefix:
			*to = ""
		case OrderInput:
			*to = OrderInput
		default:
			l.Failf(n, field, "must be %s or %s, not %s", OrderPrefix, OrderInput, strictyaml.KindOf(n))
		}
	}
}

var secretParameter = regexp.MustCompile(`(?i)key|token|secret|passw|auth|credential|signature`)

// backend reads a backend's URL. Messages never quote the URL: it may contain a secret (I9).
func (l *loader) backend(field string, n ast.Node) string {
	v, ok := l.Text(field, n)
	if !ok {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme == "" || u.Host == "" {
		l.Failf(n, field, "must be a URL such as vllm://127.0.0.1:8000")
		return ""
	}
	secret := u.User != nil
	for name := range u.Query() {
		secret = secret || secretParameter.MatchString(name)
	}
	if secret {
		l.Failf(n, field, "must not hold a user, password or key: a spec is copied and stored; give the key to the worker in its environment")
		return ""
	}
	return v
}
