package spec

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

// The values of an object are those that encoding/json reads.
func FuzzDecodeObject(f *testing.F) {
	for _, text := range []string{
		`{"a":"x","b":1.50,"c":null,"d":true,"e":[1, 2],"f":{"z":1, "a":"é"}}`, `{"\u0061":"\ud83d\ude00\ud83d\u0041\udc00"}`,
		`{"tab\tname":"a\/b\\\"\n\r\b\f"}`, "{\"bytes\":\"\xff\xc3\"}", `{"e\u0301":"é","é":2}`, `null`, ` { } `, `{"":"","n":-0.0e+1}`, `{"a":1,"a":2}`,
		`[1e5,-0,0.5E-7]`, `[01]`, `[-]`, `[1.]`, `"\x"`, `"\u12g4"`, "\"\x01\"", "\"\x7f\"", `tru`, `[NaN]`, `{"a":1,}`, `[,]`, "\ufeff1", "\v1", `1 2`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		require.Equal(t, json.Valid([]byte(text)), validJSON([]byte(text)))
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &members) != nil {
			return
		}
		want, doubled := map[string]any{}, false
		for name, raw := range members {
			name = norm.NFC.String(name)
			_, twice := want[name]
			doubled = doubled || twice
			var v any
			numbers := json.NewDecoder(strings.NewReader(string(raw)))
			numbers.UseNumber()
			require.NoError(t, numbers.Decode(&v))
			want[name] = v
		}
		got, err := decodeObject([]byte(text))
		require.NoError(t, err)
		assert.Len(t, got, len(want))
		if doubled {
			return // the standard library's order of the members is lost
		}
		for name, v := range got {
			if raw, nested := v.(json.RawMessage); nested {
				compact := json.NewDecoder(strings.NewReader(string(raw)))
				compact.UseNumber()
				require.NoError(t, compact.Decode(&v))
			}
			assert.Equal(t, want[name], v)
		}
	})
}

// A short value does not keep its line in memory.
func TestDecodedValuesShareNoMemoryWithTheirLine(t *testing.T) {
	const lines = 64
	line := fmt.Appendf(nil, `{"id":"7","n":12,"text":%q}`, strings.Repeat("x", 1<<20))
	kept := make([]any, 0, 2*lines)
	before := heap()
	for range lines {
		fields, _, err := decodeFields(line)
		require.NoError(t, err)
		kept = append(kept, fields["id"], fields["n"])
	}
	assert.Less(t, heap()-before, int64(lines<<20/2))
	runtime.KeepAlive(kept)
}

// heap returns the bytes of live memory.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkDecodeFields(b *testing.B) {
	document := strings.Repeat("A sentence with \"quotes\" and an end.\n", 200)
	line, err := json.Marshal(map[string]any{"document": document, "question": "which?", "n": 7})
	require.NoError(b, err)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeFields(line); err != nil {
			b.Fatal(err)
		}
	}
}
