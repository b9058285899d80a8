package toolpool

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const anyObject = `{"type":"object"}`

// tool returns a valid declaration around run.
func tool(share Share, run func(ctx context.Context, args json.RawMessage) (string, error)) Tool {
	return Tool{Name: "t", Description: "test", Parameters: json.RawMessage(anyObject), Share: share, TTL: time.Minute, Run: run}
}

func says(text string) func(context.Context, json.RawMessage) (string, error) {
	return func(context.Context, json.RawMessage) (string, error) { return text, nil }
}

func newPool(t *testing.T, tools ...Tool) *Pool {
	t.Helper()
	p, err := New(Config{})
	require.NoError(t, err)
	for _, tool := range tools {
		require.NoError(t, p.Register(tool))
	}
	return p
}

func call(t *testing.T, p *Pool, name, args string) Result {
	t.Helper()
	r, err := p.Call(t.Context(), Call{Name: name, Arguments: args})
	require.NoError(t, err)
	assert.NotEmpty(t, r.Content)
	return r
}

func TestNewRefusesNegativeSizes(t *testing.T) {
	t.Parallel()
	_, err := New(Config{CacheBytes: -1})
	assert.Error(t, err)
	_, err = New(Config{CacheEntries: -1})
	assert.Error(t, err)
}

func TestRegisterNamesEveryFault(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	err := p.Register(Tool{Name: "no spaces", Share: "sometimes", Timeout: -1, Parameters: json.RawMessage(`{"type":"array"}`)})
	require.Error(t, err)
	for _, fault := range []string{`"no spaces"`, "1 to 64 letters", "description is empty", "Run is nil", `unknown Share "sometimes"`, "negative", `"type": "object"`} {
		assert.ErrorContains(t, err, fault)
	}
	for name, change := range map[string]func(*Tool){
		"a ttl tool without TTL": func(t *Tool) { t.Share, t.TTL = ForTTL, 0 },
		"an invalid schema":      func(t *Tool) { t.Parameters = json.RawMessage(`{"type":"object","properties":3}`) },
		"no schema":              func(t *Tool) { t.Parameters = nil },
		"a schema with a file":   func(t *Tool) { t.Parameters = json.RawMessage(`{"type":"object","$ref":"file:///x"}`) },
		"a long name":            func(t *Tool) { t.Name = strings.Repeat("x", 65) },
	} {
		tl := tool(Pure, says("x"))
		change(&tl)
		assert.Error(t, p.Register(tl), name)
	}
	assert.Empty(t, p.Names())
}

func TestRegisterTwiceAndLookup(t *testing.T) {
	t.Parallel()
	a := tool("", says("x"))
	b := tool(Pure, says("x"))
	b.Name = "b"
	p := newPool(t, a, b)
	assert.ErrorContains(t, p.Register(a), "taken")
	assert.Equal(t, []string{"b", "t"}, p.Names())
	got, ok := p.Lookup("t")
	assert.True(t, ok)
	assert.Equal(t, Inflight, got.Share, "the default")
	assert.Equal(t, 64<<10, got.MaxBytes, "the default")
	_, ok = p.Lookup("none")
	assert.False(t, ok)
}

func TestFailuresBecomeResults(t *testing.T) {
	t.Parallel()
	ran := 0
	strict := tool(Pure, func(context.Context, json.RawMessage) (string, error) { ran++; return "fine", nil })
	strict.Parameters = json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}`)
	failing := tool(Inflight, func(context.Context, json.RawMessage) (string, error) { return "half", errors.New("no such city") })
	failing.Name = "failing"
	panics := tool(Inflight, func(context.Context, json.RawMessage) (string, error) { panic("secret detail") })
	panics.Name = "panics"
	keyless := tool(Pure, says("x"))
	keyless.Name = "keyless"
	keyless.Key = func(context.Context, json.RawMessage) (string, error) { return "", errors.New("no key today") }
	keyPanics := tool(Pure, says("x"))
	keyPanics.Name = "keypanics"
	keyPanics.Key = func(context.Context, json.RawMessage) (string, error) { panic("x") }
	p := newPool(t, strict, failing, panics, keyless, keyPanics)

	for _, c := range []struct{ name, args, want string }{
		{"nope", `{}`, `there is no tool "nope". Available tools: failing, keyless, keypanics, panics, t.`},
		{"t", `{"path": "a`, `the arguments of t are not valid JSON: the text ends too early. Write them as one JSON object.`},
		{"t", `{'path': 'a'}`, `not valid JSON: '\'' in place of a key in double quotes, at byte 2`},
		{"t", `["a"]`, `must be one JSON object`},
		{"t", `{"path":1}`, `the arguments of t do not fit its parameters: at path: got number, want string.`},
		{"t", ``, `missing "path"`},
		{"t", `{"path":"a","x":1}`, `unknown "x"`},
		{"failing", `{}`, `Error: no such city`},
		{"panics", `{}`, `panics broke down on this call`},
		{"keyless", `{}`, `no key today`},
		{"keypanics", `{}`, `broke down`},
	} {
		r := call(t, p, c.name, c.args)
		assert.True(t, r.Failed, c.args)
		assert.Contains(t, r.Content, c.want)
		assert.True(t, strings.HasPrefix(r.Content, "Error: "), r.Content)
		assert.NotContains(t, r.Content, "secret")
	}
	assert.Zero(t, ran, "a call with bad arguments never runs")
	r := call(t, p, "t", `{"path":"a"}`)
	assert.Equal(t, Result{Content: "fine", Executed: true, Source: FromTool}, r)
	assert.Equal(t, Stats{Asked: 7, Executed: 1, Failed: 6}, withoutTimes(p.Stats()["t"]))
	assert.Equal(t, Stats{Asked: 1, Executed: 1, Failed: 1}, withoutTimes(p.Stats()["panics"]))
	assert.Contains(t, call(t, newPool(t), "x", "").Content, "No tools are available")
}

func TestToolGetsTheCheckedArguments(t *testing.T) {
	t.Parallel()
	var got string
	p := newPool(t, tool(Effect, func(_ context.Context, args json.RawMessage) (string, error) { got = string(args); return "x", nil }))
	call(t, p, "t", "{\"b\" : 12345678901234567890,\n \"a\":\"<&>\", \"c\":1e3}")
	assert.Equal(t, `{"a":"<&>","b":12345678901234567890,"c":1e3}`, got)
	got = ""
	r := call(t, p, "t", `{"a":1,"\u0061":2}`)
	assert.Contains(t, r.Content, `the key "a" occurs twice`)
	assert.Empty(t, got, "readers disagree on duplicate keys")
	call(t, p, "t", " \n")
	assert.Equal(t, `{}`, got)
}

func TestResultsAreFitForAConversation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, out, want string
		limit           int
	}{
		{"as it is", "hello\n", "hello\n", 0},
		{"empty", "", "(no output)", 0},
		{"blank", " \n\t", "(no output)", 0},
		{"not UTF-8", "a\xffb", "a\uFFFDb", 0},
		{"zeros", "a" + strings.Repeat("\x00", 1000) + "b", "a\uFFFDb", 0},
		{"control characters", "a\x01\x02\x7fb\x08", "a\uFFFDb\uFFFD", 0},
		{"those of text", "a\tb\r\n\fc\x1b[1md", "a\tb\r\n\fc\x1b[1md", 0},
		{"exactly the limit", "12345", "12345", 5},
		{"cut at a character", strings.Repeat("é", 50), strings.Repeat("é", 14) + "\n[cut: the first 28 of 100 bytes]", 62},
		{"no room", strings.Repeat("x", 100), "\n[cut: the first 0 of 100 bytes]", 5},
	} {
		tl := tool(Effect, says(c.out))
		tl.MaxBytes = c.limit
		p := newPool(t, tl)
		assert.Equal(t, c.want, call(t, p, "t", "{}").Content, c.name)
	}
}

func withoutTimes(s Stats) Stats {
	s.Finished, s.Seconds, s.P50, s.P75, s.P99 = 0, 0, 0, 0, 0
	return s
}

func TestDurationsAreInOrder(t *testing.T) {
	t.Parallel()
	l, err := newLatency()
	require.NoError(t, err)
	for _, d := range []time.Duration{time.Minute, 10 * time.Millisecond, time.Second, time.Second} {
		l.add(d)
	}
	var got []time.Duration
	l.each(func(d time.Duration, count float64) {
		for range int(count) {
			got = append(got, d)
		}
	})
	require.Len(t, got, 4)
	for i, want := range []time.Duration{10 * time.Millisecond, time.Second, time.Second, time.Minute} {
		require.InEpsilon(t, want, got[i], 0.02)
	}
	p, err := New(Config{})
	require.NoError(t, err)
	p.Durations("unknown", func(time.Duration, float64) { t.Error("called") })
}
