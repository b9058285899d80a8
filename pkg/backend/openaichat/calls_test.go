package openaichat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestToolCalls(t *testing.T) {
	t.Parallel()
	call := func(id, name, args string) backend.ToolCall {
		return backend.ToolCall{ID: id, Name: name, Arguments: args}
	}
	cases := []struct {
		name   string
		chunks []string
		want   []backend.ToolCall
		told   []int // indexes in the order of their reports; nil means all in order
	}{
		{"brace in a string does not close", []string{argChunk("0", "a", "f", `{"x":"}`), argChunk("0", "", "", `\"}"}`)},
			[]backend.ToolCall{call("a", "f", `{"x":"}\"}"}`)}, nil},
		{"one brace too many is dropped", []string{argChunk("0", "a", "f", `{"x":1}}`), argChunk("0", "", "", `}`)},
			[]backend.ToolCall{call("a", "f", `{"x":1}`)}, nil},
		{"a number may continue", []string{argChunk("0", "a", "f", `1`), argChunk("0", "", "", `2`)},
			[]backend.ToolCall{call("a", "f", `12`)}, nil},
		{"no arguments", []string{argChunk("0", "a", "f", "")}, []backend.ToolCall{call("a", "f", "")}, nil},
		{"no IDs", []string{argChunk("0", "", "f", `{}`), argChunk("1", "", "g", `{}`)},
			[]backend.ToolCall{call("call_0", "f", `{}`), call("call_1", "g", `{}`)}, nil},
		{"equal IDs", []string{argChunk("0", "a", "f", `{}`), argChunk("1", "a", "g", `{}`)},
			[]backend.ToolCall{call("a", "f", `{}`), call("a_1", "g", `{}`)}, nil},
		{"synthetic ID taken", []string{argChunk("0", "call_1", "f", `{}`), argChunk("1", "", "g", `{}`)},
			[]backend.ToolCall{call("call_1", "f", `{}`), call("call_1_1", "g", `{}`)}, nil},
		{"every call numbered 0", []string{argChunk("0", "a", "f", `{"x":`), argChunk("0", "", "", `1}`), argChunk("0", "b", "g", `{}`)},
			[]backend.ToolCall{call("a", "f", `{"x":1}`), call("b", "g", `{}`)}, nil},
		{"pieces of two calls in turn", []string{argChunk("0", "a", "f", `{"x":`), argChunk("1", "b", "g", `{"y":`),
			argChunk("0", "", "", `1}`), argChunk("1", "", "", `2}`)},
			[]backend.ToolCall{call("a", "f", `{"x":1}`), call("b", "g", `{"y":2}`)}, nil},
		{"indexes with a gap", []string{argChunk("3", "a", "f", `{}`), argChunk("7", "b", "g", `{}`)},
			[]backend.ToolCall{call("a", "f", `{}`), call("b", "g", `{}`)}, nil},
		{"broken call is reported last", []string{argChunk("0", "a", "f", `{"x": y}`), argChunk("1", "b", "g", `{}`)},
			[]backend.ToolCall{call("a", "f", `{"x": y}`), call("b", "g", `{}`)}, []int{1, 0}},
		{"name repeated with every piece", []string{argChunk("0", "a", "f", `{`), argChunk("0", "a", "f", `}`)},
			[]backend.ToolCall{call("a", "f", `{}`)}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			resp, o, err := generate(t, sse(append(c.chunks, finishChunk("tool_calls"), usageChunk)...))
			require.NoError(t, err)
			assert.Equal(t, backend.FinishToolCalls, resp.Finish)
			assert.Equal(t, c.want, resp.Message.ToolCalls)
			require.Len(t, o.calls, len(c.want))
			for i, index := range o.indexes {
				assert.Equal(t, c.want[index], o.calls[i], "the reported call equals the call in the message")
			}
			if c.told != nil {
				assert.Equal(t, c.told, o.indexes)
			}
		})
	}
}

func TestScalarArgumentsAreReportedWhenTheNextCallBegins(t *testing.T) {
	t.Parallel()
	var told []string
	l := callList{report: func(_ int, c backend.ToolCall) { told = append(told, c.Name) }}
	zero, one := callIndex(0), callIndex(1)
	first := &callDelta{Index: &zero, ID: "a"}
	first.Function.Name, first.Function.Arguments = "f", "12"
	l.add(first)
	assert.Empty(t, told)
	l.add(&callDelta{Index: &one, ID: "b"})
	assert.Equal(t, []string{"f"}, told)
}

func TestOnlyCompleteCallsAreReportedBeforeALengthCut(t *testing.T) {
	t.Parallel()
	resp, o, err := generate(t, sse(argChunk("0", "a", "f", `{}`), argChunk("1", "b", "g", `{"x`), finishChunk("length")))
	require.NoError(t, err)
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Len(t, resp.Message.ToolCalls, 2)
	assert.Equal(t, []int{0}, o.indexes)
}

// Any split of a call's arguments gives the same call.
func TestSplitArgumentsGiveTheSameCall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SampledFrom([]string{
			`{"city":"Rome","n":[1,{"a":"}]\"\\"}]}`, ` {"a":{}} }`, `[1,2]`, `{"city": Rome}}`, `"text"`, `12`, ``, `{"a":1}{"b":2}`, `nul`,
		}).Draw(t, "args")
		collect := func(pieces []string) (told, final []backend.ToolCall) {
			l := callList{report: func(_ int, c backend.ToolCall) { told = append(told, c) }}
			zero := callIndex(0)
			for _, p := range pieces {
				d := &callDelta{Index: &zero, ID: "a"}
				d.Function.Name, d.Function.Arguments = "f", loose(p)
				l.add(d)
			}
			return told, l.finish(true)
		}
		var pieces []string
		for rest := args; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		told, final := collect(append(pieces, ""))
		_, whole := collect([]string{args})
		assert.Equal(t, whole, final)
		assert.Equal(t, final, told)
	})
}

func TestRunaway(t *testing.T) {
	t.Parallel()
	repeat := func(piece string, n int) []string { return strings.Split(strings.Repeat(piece+"|", n), "|")[:n] }
	cases := []struct {
		name   string
		pieces []string
		want   bool
	}{
		{"newlines, a token each", append([]string{"{"}, repeat("\n", maxSpaceDeltas+1)...), true},
		{"as many as are allowed", append([]string{"{"}, repeat("\n", maxSpaceDeltas)...), false},
		{"many bytes in one token", []string{"{" + strings.Repeat(" ", maxSpaceBytes)}, true},
		{"deep indentation", []string{"{\n" + strings.Repeat(" ", maxSpaceBytes-2), `"a"`, strings.Repeat(" ", maxSpaceBytes-1)}, false},
		{"in a string", append([]string{`{"a":"\"`}, repeat("\n", 500)...), false},
		{"after a string", append([]string{`{"a":"\\"`}, repeat("\n", 500)...), true},
		{"empty pieces are nothing", append([]string{"{"}, repeat("", 500)...), false},
		{"words between", append(append(repeat("\n", 20), "1,"), repeat("\n", 20)...), false},
	}
	for _, c := range cases {
		var w runaway
		got := false
		for _, p := range c.pieces {
			got = got || w.feed(p)
		}
		assert.Equal(t, c.want, got, c.name)
	}
}
