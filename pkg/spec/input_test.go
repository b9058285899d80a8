package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decodeAll reads content in one format, in small pieces.
func decodeAll(f format, content string) (inputs []Input, err error) {
	for in, err := range (encoding{format: f}).decode(iotest.OneByteReader(strings.NewReader(content)), "f") {
		if err != nil {
			return inputs, err
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func TestFormatsDecode(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		format  format
		content string
		want    []Input
		err     string
	}{
		"jsonl": {
			format: formatJSONL, content: "\uFEFF{\"a\": 1.50, \"b\": {\"z\": 1, \"a\": [ ]}}\r\n\n  \n\"x\"\n[1, 2]\nnull\n{oops}\n{\"c\":\"\xff\"}\n{\"d\": false, \"e\": null}",
			want: []Input{
				{Where: "f:1", Fields: map[string]any{"a": json.Number("1.50"), "b": json.RawMessage(`{"z":1,"a":[]}`)}},
				{Where: "f:4", Fields: map[string]any{"input": "x"}},
				{Where: "f:5", Fields: map[string]any{"input": json.RawMessage("[1,2]")}},
				{Where: "f:6", Bad: "null is not an input"},
				{Where: "f:7", Bad: "not valid JSON: invalid character 'o' looking for beginning of object key string"},
				{Where: "f:8", Bad: errNotUTF8.Error()},
				{Where: "f:9", Fields: map[string]any{"d": false, "e": nil}},
			},
		},
		"text": {
			format: formatText, content: "one\r\n\r\n  two  \n\xff\nlast",
			want: []Input{
				{Where: "f:1", Fields: map[string]any{"line": "one"}},
				{Where: "f:3", Fields: map[string]any{"line": "  two  "}},
				{Where: "f:4", Bad: errNotUTF8.Error()},
				{Where: "f:5", Fields: map[string]any{"line": "last"}},
			},
		},
		"csv": {
			format: formatCSV, content: "\uFEFFid, text\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n\r\n2\n3,c\n4,\"a\"b\n5,\xff\n6,\n",
			want: []Input{
				{Where: "f:2", Fields: map[string]any{"id": "1", "text": "two\nlines, \"quoted\""}},
				{Where: "f:5", Bad: "the record has 1 fields and the header 2"},
				{Where: "f:6", Fields: map[string]any{"id": "3", "text": "c"}},
				{Where: "f:7", Bad: `extraneous or missing " in quoted-field`},
				{Where: "f:8", Bad: `field "text": ` + errNotUTF8.Error()},
				{Where: "f:9", Fields: map[string]any{"id": "6", "text": ""}},
			},
		},
		"csv header only": {format: formatCSV, content: "a,b\n"},
		"csv empty":       {format: formatCSV},
		"csv twice":       {format: formatCSV, content: "a,a\n1,2\n", err: `f:1: two columns are named "a"`},
		"csv no name":     {format: formatCSV, content: "a,\n1,2\n", err: "f:1: column 2 has no name, because the row ends with \",\"; the first row must name the fields. Remove the characters after \"a\" from every line, or name the column"},
		"json": {
			format: formatJSON, content: "\uFEFF[\n {\"a\": 1},\n\n 7,\n null, {\"a\":\n 2}\n]\n",
			want: []Input{
				{Where: "f:2", Fields: map[string]any{"a": json.Number("1")}},
				{Where: "f:4", Fields: map[string]any{"input": json.Number("7")}},
				{Where: "f:5", Bad: "null is not an input"},
				{Where: "f:5", Fields: map[string]any{"a": json.Number("2")}},
			},
		},
		"json empty":   {format: formatJSON},
		"json no list": {format: formatJSON, content: "{}", err: `read f:1: the file must hold one JSON array, and this is an object; for one object per line name it .jsonl or set format: jsonl, and to take the array out of an object use jq '.rows' (pandas: to_json(orient="records"))`},
		"json cut":     {format: formatJSON, content: "[1,\n\"2", want: []Input{{Where: "f:1", Fields: map[string]any{"input": json.Number("1")}}}, err: "read f:1: unexpected EOF"},
		"json tail":    {format: formatJSON, content: "[]\n[]", err: "read f:2: there is text after the end of the array"},
		"utf-16":       {format: formatText, content: "\xff\xfea\x00", err: "read f: it is UTF-16 text; convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8"},
		"empty":        {format: formatJSONL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeAll(tc.format, tc.content)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
			} else {
				require.NoError(t, err)
			}
			for i := range got {
				got[i].Names = nil // TestRow checks their order
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestLineReaderSkipsLongLines(t *testing.T) {
	t.Parallel()
	s := strings.Repeat("x", maxInputBytes+1)
	var got []Input
	for in, err := range (encoding{format: formatText}).decode(strings.NewReader("a\n"+s+"\nb\n"), "f") {
		require.NoError(t, err)
		got = append(got, in)
	}
	assert.Equal(t, []Input{
		{Where: "f:1", Fields: map[string]any{"line": "a"}},
		{Where: "f:2", Bad: "the line is longer than 16 MiB"},
		{Where: "f:3", Fields: map[string]any{"line": "b"}},
	}, got)
}

func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	endless := func(head string) io.Reader {
		return io.MultiReader(strings.NewReader(head), &repeat{unit: "x\n"})
	}
	for _, err := range (encoding{format: formatCSV}).decode(endless("a,b\n1,\"open\n"), "f") {
		require.ErrorContains(t, err, "one record is longer than 16 MiB; is a quote left open?")
		require.ErrorContains(t, err, "read f:2: ")
	}
	for _, err := range (encoding{format: formatJSON}).decode(endless("[\n\""+strings.Repeat("y", maxInputBytes+windowSlack)), "f") {
		require.Error(t, err)
	}
}

// repeat is an endless stream.
type repeat struct{ unit string }

func (r *repeat) Read(p []byte) (int, error) {
	n := 0
	for n+len(r.unit) <= len(p) {
		n += copy(p[n:], r.unit)
	}
	return n, nil
}

func TestDecodeStopsEarly(t *testing.T) {
	t.Parallel()
	for f, content := range map[format]string{
		formatJSONL: "1\n2\n", formatText: "a\nb\n", formatCSV: "h\n1\n2\n", formatJSON: "[1,2]",
	} {
		n := 0
		for range (encoding{format: f}).decode(strings.NewReader(content), "f") {
			n++
			break
		}
		assert.Equal(t, 1, n, f)
	}
}

func TestReadErrorsEndTheSource(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for f, content := range map[format]string{formatJSONL: "1\n2", formatText: "a\nb", formatCSV: "h\n1\n2", formatJSON: "[1,2"} {
		var last error
		for _, err := range (encoding{format: f}).decode(io.MultiReader(strings.NewReader(content), iotest.ErrReader(broken)), "f") {
			require.NoError(t, last, "nothing follows an error")
			last = err
		}
		require.ErrorIs(t, last, broken, f)
	}
}

func TestGlobIsSortedAndReadsContentOnlyIfUsed(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"src/b.go": "package b", "src/a.go": "\uFEFFpackage a", "src/sub/c.go": "\xff", "src/sub/c_test.go": "x", "src/.hidden/d.go": "x",
		"src/.e.go": "x", "src/vendor/v.go": "x", "src/big.go": strings.Repeat("x", maxContentBytes+1), "other.go": "x", "src/a.txt": "x",
	}
	inputs := `inputs: {glob: "**/*.go", root: src, exclude: ["**/*_test.go", vendor]}`
	s, err := load(t, "task: \"{path}\"\n"+inputs, files, LoadOptions{})
	require.NoError(t, err)
	var paths []string
	for _, in := range collect(t.Context(), t, s) {
		assert.Empty(t, in.Bad)
		assert.Equal(t, in.Where, in.Fields["path"])
		paths = append(paths, in.Where)
	}
	assert.Equal(t, []string{"a.go", "b.go", "big.go", "sub/c.go"}, paths)

	s, err = load(t, "task: \"{content}\"\non_bad_input: skip\n"+inputs, files, LoadOptions{})
	require.NoError(t, err)
	got := collect(t.Context(), t, s)
	assert.Equal(t, map[string]any{"path": "a.go", "name": "a.go", "content": "package a"}, got[0].Fields)
	assert.Equal(t, "the file is larger than 1 MiB", got[2].Bad)
	assert.Equal(t, errNotUTF8.Error(), got[3].Bad)
}

func TestGlobPathsAreRelativeToToolsRoot(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"specs/deep/batch.yaml": "task: \"{path}\"\ninputs: ../../data/*.txt\n",
		"data/x.txt":            "x",
		"data/sub/y.txt":        "y",
	})
	for toolsRoot, want := range map[string]string{
		dir:                               "data/x.txt", // the pattern's own folder is in the tools root
		filepath.Join(dir, "data"):        "x.txt",
		filepath.Join(dir, "specs/deep"):  "x.txt", // the pattern's own folder is outside the tools root
		filepath.Join(dir, "unconnected"): "x.txt",
	} {
		s, err := Load(filepath.Join(dir, "specs/deep/batch.yaml"), LoadOptions{ToolsRoot: toolsRoot})
		require.NoError(t, err)
		got := collect(t.Context(), t, s)
		require.Len(t, got, 1)
		assert.Equal(t, want, got[0].Fields["path"], toolsRoot)
	}
}

func TestStdinIsReadTwiceAndRemoved(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for yaml, content := range map[string]string{
		"inputs: \"-\"":         "{\"x\": \"a\"}\n{\"x\": \"b\"}\n",
		"inputs: {stdin: json}": "[{\"x\": \"a\"}, {\"x\": \"b\"}]",
		"inputs: {stdin: csv}":  "x\na\nb\n",
	} {
		dir := folder(t, map[string]string{"b.yaml": "task: \"{x}\"\n" + yaml})
		s, err := Load(filepath.Join(dir, "b.yaml"), LoadOptions{Stdin: strings.NewReader(content)})
		require.NoError(t, err)
		p, err := s.Prepare(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{`{"in":{"x":"a"}}`, `{"in":{"x":"b"}}`}, payloads(t, p))
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "closing again is harmless")
		left, err := os.ReadDir(temp)
		require.NoError(t, err)
		assert.Empty(t, left)
	}

	dir := folder(t, map[string]string{"b.yaml": "task: \"{x}\"\ninputs: \"-\""})
	broken := errors.New("pipe broke")
	s, err := Load(filepath.Join(dir, "b.yaml"), LoadOptions{Stdin: iotest.ErrReader(broken)})
	require.NoError(t, err)
	_, err = s.Prepare(t.Context())
	require.ErrorIs(t, err, broken)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func FuzzDecode(f *testing.F) {
	for i := range formats {
		for _, s := range []string{"", "a,b\n1,2\n", "[1, {\"a\": []}]", "{\"a\":1}\n\n2\n", "\"\n\"", "[\n\n\"a\n"} {
			f.Add(i, s)
		}
	}
	f.Fuzz(func(t *testing.T, i int, content string) {
		form := format(formats[max(0, i%len(formats))])
		last := 0
		for in, err := range (encoding{format: form}).decode(strings.NewReader(content), "f") {
			if err != nil {
				break
			}
			var line int
			if _, scanErr := fmt.Sscanf(in.Where, "f:%d", &line); scanErr != nil || line < last || line > strings.Count(content, "\n")+1 {
				t.Fatalf("%q: input at %q after line %d", content, in.Where, last)
			}
			last = line
			if (in.Bad == "") == (in.Fields == nil) {
				t.Fatalf("%q: %+v is neither good nor bad", content, in)
			}
			wire, err := Payload{Input: in.Fields, Bad: in.Bad}.encode()
			require.NoError(t, err)
			var back Payload
			require.NoError(t, json.Unmarshal(wire, &back))
			for name, value := range in.Fields {
				if utf8.ValidString(name) {
					require.Equal(t, value, back.Input[name])
				}
			}
		}
	})
}
