package openaichat

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawChunk returns a chunk with this JSON string as a member of its delta, unchanged.
func rawChunk(member, text string) string {
	return `{"choices":[{"index":0,"delta":{"` + member + `":"` + text + `"}}]}`
}

func rawArgs(text string) string {
	return `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"` + text + `"}}]}}]}`
}

func TestSplitCharactersAreJoined(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pieces []string
		want   string
	}{
		"escapes":                   {[]string{`a\ud83d`, `\ude00b`}, "a😀b"},
		"escapes and an empty one":  {[]string{`\uD83D`, ``, `\uDE00`}, "😀"},
		"two characters":            {[]string{`\ud83d`, `\ude00\ud83d`, `\ude01`}, "😀😁"},
		"bytes":                     {[]string{"\xf0\x9f", "\x98\x80"}, "😀"},
		"bytes and escapes":         {[]string{"\\n\xc3", "\xa9"}, "\né"},
		"whole":                     {[]string{`\ud83d\ude00\/\u00e9\t\b\f\r\n\\\"`}, "😀/é\t\b\f\r\n\\\""},
		"other characters of 0xED":  {[]string{"\xed\x9f\xbf", `\ud7ff`}, "\ud7ff\ud7ff"},
		"half alone":                {[]string{`a\ud83d`, `b`}, "a\xed\xa0\xbdb"},
		"halves in the wrong order": {[]string{`\ude00`, `\ud83d`}, "\xed\xb8\x80\xed\xa0\xbd"},
		"invalid byte":              {[]string{"a\xff", "b"}, "a\xffb"},
		"half at the end":           {[]string{`\ud83d`}, "\xed\xa0\xbd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := func(chunk func(string) string, reason string) string {
				var chunks []string
				for _, p := range c.pieces {
					chunks = append(chunks, chunk(p))
				}
				return sse(append(chunks, finishChunk(reason), "[DONE]")...)
			}
			resp, _, err := generate(t, stream(func(p string) string { return rawChunk("content", p) }, "stop"))
			require.NoError(t, err)
			assert.Equal(t, c.want, resp.Message.Content)
			for _, member := range []string{"reasoning", "reasoning_content"} {
				resp, _, err = generate(t, stream(func(p string) string { return rawChunk(member, p) }, "stop"))
				require.NoError(t, err)
				assert.Equal(t, c.want, resp.Message.ReasoningText(), member)
			}
			if name == "whole" {
				return // its escapes are not valid in arguments
			}
			var chunks []string
			for _, p := range c.pieces {
				chunks = append(chunks, rawArgs(p))
			}
			chunks = append(append([]string{rawArgs(`{\"a\":\"`)}, chunks...), rawArgs(`\"}`), finishChunk("tool_calls"), "[DONE]")
			resp, o, err := generate(t, sse(chunks...))
			require.NoError(t, err)
			require.Len(t, o.calls, 1)
			assert.Equal(t, `{"a":"`+c.want+`"}`, o.calls[0].Arguments)
			assert.Equal(t, o.calls[0].Arguments, resp.Message.ToolCalls[0].Arguments)
		})
	}
}

func FuzzDecodeString(f *testing.F) {
	for _, s := range []string{`"a"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u00e9\n"`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want string
		if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' || json.Unmarshal(raw, &want) != nil {
			return
		}
		got := decodeString(raw)
		if utf8.ValidString(got) {
			require.Equal(t, want, got)
		}
	})
}
