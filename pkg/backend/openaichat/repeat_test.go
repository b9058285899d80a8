package openaichat

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// repeats are pairs of events in sequence. fast tells whether the second needs no decoding.
var repeats = []struct {
	name, first, second string
	fast                bool
}{
	{"content", contentChunk("a"), contentChunk("b"), true},
	{"content with escapes", contentChunk("a"), contentChunk("\n\"é\\u00e9"), true},
	{"content becomes empty", contentChunk("a"), contentChunk(""), true},
	{"half of a surrogate pair", contentChunk("a"), `{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}`, true},
	{"space after the colon", `{"choices": [{"index": 0, "delta": {"content": "a"}}]}`, `{"choices": [{"index": 0, "delta": {"content": "bc"}}]}`, true},
	{"arguments", argChunk("0", "", "", "{"), argChunk("0", "", "", `"x": "y"}`), true},
	{"first content is empty", contentChunk(""), contentChunk("b"), false},
	{"another index", argChunk("0", "", "", "{"), argChunk("1", "", "", "{"), false},
	{"escape that is not JSON", contentChunk("a"), `{"choices":[{"index":0,"delta":{"content":"\x"}}]}`, false},
	{"two members in the text", contentChunk("a"), `{"choices":[{"index":0,"delta":{"content":"a","refusal":"b"}}]}`, false},
	{"content is a number", contentChunk("a"), `{"choices":[{"index":0,"delta":{"content":5}}]}`, false},
	{"another member of the same name", `{"choices":[{"index":0,"delta":{"content":"a","CONTENT":"a"}}]}`, `{"choices":[{"index":0,"delta":{"content":"b","CONTENT":"a"}}]}`, false},
	{"another name with an escape", `{"choices":[{"index":0,"delta":{"content":"a","c\u006fntent":"a"}}]}`, `{"choices":[{"index":0,"delta":{"content":"b","c\u006fntent":"a"}}]}`, false},
	{"name with a folded letter", `{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"a","argumentſ":"a"}}]}}]}`, `{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"b","argumentſ":"a"}}]}}]}`, false},
	{"name is a value", `{"object":"content","choices":[{"index":0,"delta":{"content":"a"}}]}`, `{"object":"content","choices":[{"index":0,"delta":{"content":"b"}}]}`, false},
	{"content and arguments", `{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"function":{"arguments":"b"}}]}}]}`, `{"choices":[{"index":0,"delta":{"content":"c","tool_calls":[{"function":{"arguments":"b"}}]}}]}`, false},
	{"finish reason", contentChunk("a"), finishChunk("stop"), false},
	{"usage", contentChunk("a"), `{"id":"c","choices":[],"usage":{"prompt_tokens":33,"total_tokens":41,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":0}},"metrics":{"mean_itl_ms":3.5}}`, false},
	{"usage of an unusual form", contentChunk("a"), `{"choices":null,"usage":{"prompt_tokens":"33","input_tokens":3,"completion_tokens_details":{"reasoning_tokens":1},"prompt_tokens_details":{"cached_tokens":null}}}`, false},
	{"first piece of a call", `{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[]}}]}`, argChunk("0", "call_1", "read_file", ""), false},
	{"call with further members", argChunk("0", "a", "b", "{"), `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","extra_content":{"s":1},"function":{"name":"b","arguments":"{}"}}]}}]}`, false},
	{"reasoning", `{"choices":[{"index":0,"delta":{"reasoning":"a","reasoning_content":null}}]}`, `{"choices":[{"index":0,"delta":{"reasoning":"b","reasoning_details":[{"text":"b"}]}}]}`, false},
	{"member in another case", contentChunk("a"), `{"choices":[{"index":0,"Delta":{"content":"a"}}]}`, false},
	{"object of choices", contentChunk("a"), `{"choices":{"index":0,"delta":{"content":"a"}}}`, false},
	{"no object", contentChunk("a"), `[{"choices":[]}]`, false},
	{"two choices", `{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{}}]}`, `{"choices":[{"index":0,"delta":{"content":"b"}},{"index":1,"delta":{}}]}`, false},
}

func TestRepeatedChunksAreDecodedAlike(t *testing.T) {
	t.Parallel()
	for _, c := range repeats {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var r chunkReader
			_, err := r.read([]byte(c.first))
			require.NoError(t, err)
			_, fast := r.varied([]byte(c.second))
			assert.Equal(t, c.fast, fast)
			sameAsDecoded(t, &r, []byte(c.second))
		})
	}
}

// sameAsDecoded requires that a reader returns the same chunk as the decoder.
func sameAsDecoded(t *testing.T, r *chunkReader, event []byte) {
	t.Helper()
	var want chunk
	wrong := json.Unmarshal(event, &want)
	got, err := r.read(event)
	require.Equal(t, wrong, err)
	if err == nil {
		require.Equal(t, want, *got, "%s", event)
	}
}

func FuzzChunkReader(f *testing.F) {
	for _, c := range repeats {
		f.Add([]byte(c.first), []byte(c.second))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var r chunkReader
		sameAsDecoded(t, &r, first)
		sameAsDecoded(t, &r, second)
		sameAsDecoded(t, &r, first)
	})
}

// BenchmarkFirstChunk measures the decoding of a chunk that differs from the one before.
func BenchmarkFirstChunk(b *testing.B) {
	events := [][]byte{
		[]byte(`{"id":"chatcmpl-8c1f","object":"chat.completion.chunk","created":1764520000,"model":"qwen3-32b",` +
			`"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}`),
		[]byte(`{"id":"chatcmpl-8c1f","object":"chat.completion.chunk","created":1764520000,"model":"qwen3-32b","choices":[],` +
			`"usage":{"prompt_tokens":33,"total_tokens":41,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":16}}}`),
	}
	b.ReportAllocs()
	var r chunkReader
	for b.Loop() {
		for _, event := range events {
			_, err := r.read(event)
			require.NoError(b, err)
		}
	}
}

// BenchmarkRepeatedChunk measures a piece of a long answer.
func BenchmarkRepeatedChunk(b *testing.B) {
	event := []byte(`{"id":"chatcmpl-8c1f","object":"chat.completion.chunk","created":1764520000,"model":"qwen3-32b",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}`)
	b.ReportAllocs()
	t := newTurn(backend.Observer{}, false)
	for b.Loop() {
		t.size = 0
		require.NoError(b, t.add(event, chatEvent))
	}
}
