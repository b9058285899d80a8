package spec

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// readAllOf returns the inputs of a file, one line each.
func readAllOf(t *testing.T, path, more string) (out []string, err error) {
	t.Helper()
	spec := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(spec, fmt.Appendf(nil, "task: t\nliteral: true\ninputs: {file: %q%s}\n", path, more), 0o600))
	s, err := Load(spec, LoadOptions{})
	if err != nil {
		return nil, err
	}
	for in, err := range s.Inputs(t.Context()) {
		if err != nil {
			return out, err
		}
		line := filepath.Base(in.Where) + " " + in.Bad
		for _, name := range in.Names {
			if v, ok := in.Fields[name]; ok {
				text, err := plainjson.Marshal(v)
				require.NoError(t, err)
				line += name + "=" + string(text) + " "
			}
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out, nil
}

// pyarrow wrote the files, from a table with its usual types.
func TestParquetInputs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"snappy.parquet", "zstd.parquet"} {
		got, err := readAllOf(t, filepath.Join(must(filepath.Abs("testdata/parquet"))(t), name), "")
		require.NoError(t, err)
		require.Len(t, got, 3)
		assert.Equal(t, name+`:1 field "bin": its bytes are not UTF-8 text; leave the column out of the file`, got[0])
		assert.Equal(t, name+`:2 ticket=2 text="é" f=null b=false ts=null tn=null d=null dec=-0.001 l=[] ls=null s=null los=[] m={} bin="ok" u8=0 u64=0 tm=null f16=2 cat="y"`, got[1])
		assert.Equal(t, name+`:3 ticket=null text=null f="Inf" b=null ts="1960-01-01T00:00:00Z" tn=null d=null dec=null l=null ls=[] s={"x":null,"y":null} los=null m=null bin=null u8=null u64=null tm=null f16=null cat="x"`, got[2])
	}
	got, err := readAllOf(t, must(filepath.Abs("testdata/parquet/typed.parquet"))(t), "")
	require.NoError(t, err)
	assert.Equal(t, []string{`typed.parquet:1 ticket=1 ts="2024-01-02T03:04:05.678901Z" tn="2024-01-02T03:04:05" d="2024-02-29" dec=12.340 l=[1,null,2] ls=["a",null] s={"y":"q","x":1} los=[{"k":[1]},null] m={"a":1} u8=255 u64=18446744073709551615 tm="01:02:03" ll=[[1],[],null]`}, got)
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func TestDamagedParquetIsAnError(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile("testdata/parquet/snappy.parquet")
	require.NoError(t, err)
	for _, n := range []int{0, 4, 100, len(whole) / 2, len(whole) - 1} {
		path := filepath.Join(t.TempDir(), "i.parquet")
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		_, err := readAllOf(t, path, "")
		assert.ErrorContains(t, err, "i.parquet", n)
	}
	for i := range len(whole) {
		if i%7 > 0 {
			continue
		}
		bad := bytes.Clone(whole)
		bad[i] ^= 0x55
		path := filepath.Join(t.TempDir(), "i.parquet")
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, _ = readAllOf(t, path, "") // neither a panic nor a hang
	}
}

func TestCompressedInputs(t *testing.T) {
	t.Parallel()
	pack := func(name, content string) string {
		var b bytes.Buffer
		if strings.HasSuffix(strings.ToLower(name), ".gz") {
			z := gzip.NewWriter(&b)
			_, _ = z.Write([]byte(content))
			require.NoError(t, z.Close())
		} else {
			z, err := zstd.NewWriter(&b)
			require.NoError(t, err)
			_, _ = z.Write([]byte(content))
			require.NoError(t, z.Close())
		}
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		return path
	}
	for name, content := range map[string]string{
		"i.jsonl.gz": `{"a":"x"}` + "\n", "i.jsonl.zst": `{"a":"x"}`, "I.CSV.GZ": "a\nx\n", "i.csv.zst": "a\nx\n", "i.tsv.gz": "a\tb\nx\t\n", "i.json.gz": `[{"a":"x"}]`,
	} {
		got, err := readAllOf(t, pack(name, content), "")
		if assert.NoError(t, err, name) && assert.Len(t, got, 1, name) {
			assert.Contains(t, got[0], `a="x"`, name)
		}
	}
	got, err := readAllOf(t, pack("export.gz", "a\nx\n"), ", format: csv")
	require.NoError(t, err)
	assert.Contains(t, got[0], `a="x"`)
	_, err = readAllOf(t, pack("i.gz", "a\nx\n"), "")
	assert.ErrorContains(t, err, "names no format")

	bomb := strings.Repeat(" ", freelyExpanded+1)
	_, err = readAllOf(t, pack("i.jsonl.zst", bomb), "")
	assert.ErrorContains(t, err, "expands to more than 1000 times its size")
	cut := pack("i.jsonl.gz", `{"a":"x"}`+"\n")
	text, err := os.ReadFile(cut)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cut, text[:len(text)-4], 0o600))
	_, err = readAllOf(t, cut, "")
	assert.ErrorContains(t, err, "unexpected EOF")
	plain := filepath.Join(t.TempDir(), "i.jsonl")
	require.NoError(t, os.WriteFile(plain, text, 0o600))
	_, err = readAllOf(t, plain, "")
	assert.ErrorContains(t, err, "its name must end with .gz")
}

// TestParquetFooterCostsNoMemory checks small files whose footers claim gigabytes.
func TestParquetFooterCostsNoMemory(t *testing.T) {
	file := func(footer string) []byte {
		return append(append([]byte("PAR1"+footer), byte(len(footer)), 0, 0, 0), "PAR1"...)
	}
	const two31 = "\xff\xff\xff\xff\x07"
	for want, text := range map[string][]byte{
		"its end claims 4294967295 bytes of metadata, and the file has 12 bytes":       append([]byte("PAR1"), 0xff, 0xff, 0xff, 0xff, 'P', 'A', 'R', '1'),
		"it is a damaged Parquet file: its metadata is shorter than its lengths claim": file("\x15\x02\x19\xfc" + two31 + "\x00"), // a list of 2^31 columns
		"its metadata is shorter than its lengths claim":                               file("\x18" + two31 + "\x00"),             // a text of 2^31 bytes
		"its metadata is nested too deeply":                                            file(strings.Repeat("\x1c", 100)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := openParquet(bytes.NewReader(text))
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, want)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), want)
	}
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"snappy", "zstd", "typed"} {
		text, err := os.ReadFile("testdata/parquet/" + name + ".parquet")
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for in, err := range (encoding{format: formatParquet}).decode(bytes.NewReader(text), "f") {
			if err == nil && in.Bad == "" {
				_, err := json.Marshal(in.Fields)
				require.NoError(t, err)
			}
		}
	})
}
