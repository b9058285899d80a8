package collect

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
)

// rowResult returns a result with an input and an output; an empty output is a failure.
func rowResult(index int64, id, input, output string) batch.Result {
	r := batch.Result{Batch: testBatch, JobID: batch.JobID(index), Index: index, ID: id, Status: batch.OK, Attempts: 1, Worker: "w"}
	if input != "" {
		r.Input = json.RawMessage(input)
	}
	if output == "" {
		r.Status, r.Error = batch.StatusFailed, batch.NewError(batch.Timeout, "=too late")
	} else {
		r.Output = json.RawMessage(output)
	}
	return r
}

// written writes results to a file in the order of their slice, and returns its path.
func writtenTo(t *testing.T, name string, l Layout, results ...batch.Result) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := FormatFor(path, "")
	require.NoError(t, err)
	file, err := OpenFile(path, f, testBatch, MaxIndex)
	require.NoError(t, err)
	file.SetLayout(l)
	for _, r := range results {
		require.NoError(t, file.Write([]batch.Result{r}, [][]byte{marshalled(t, r)}))
	}
	require.NoError(t, file.Close())
	return path
}

// cells returns the first columns of a CSV file, up to status.
func cells(t *testing.T, path string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	table, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	for _, line := range table {
		n := 0
		for n < len(table[0]) && table[0][n] != "error_message" && table[0][n] != "job_error_message" {
			n++
		}
		out = append(out, strings.Join(line[:n], "|"))
	}
	return out
}

func TestCSVColumns(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":["string","null"]},"l":{"type":"array","items":{"type":"number"}}}}`)
	for name, c := range map[string]struct {
		layout  Layout
		results []batch.Result
		want    []string
	}{
		"carried, output, common": {Layout{Carry: []string{"t", "r"}, Schema: schema}, []batch.Result{
			rowResult(1, "B", `{"t":"B","r":"EU"}`, ``), rowResult(0, "A", `{"t":"A"}`, `{"z":1,"a":"x","l":[1,2.5]}`),
		}, []string{"id|t|r|z|a|l|status|error_type", "A|A||1|x|[1,2.5]|ok|", "B|B|EU||||failed|Timeout"}},
		"columns of the results": {Layout{}, []batch.Result{
			rowResult(0, "", `{"n":{"a":1},"m":true}`, `{"text":"t"}`), rowResult(1, "", `{"k":1.50}`, `{"text":"u","more":null}`),
		}, []string{"n|m|k|text|more|status|error_type", `{"a":1}|true||t||ok|`, `||1.50|u||ok|`}},
		"formulas": {Layout{}, []batch.Result{
			rowResult(0, "=1+1", `{"=c":"@x","n":-5}`, `{"text":"-1","t":"- a"}`),
		}, []string{"id|'=c|n|text|t|status|error_type", "'=1+1|'@x|-5|-1|'- a|ok|"}},
		"equal names": {Layout{}, []batch.Result{
			rowResult(0, "7", `{"id":7,"status":"s","text":"in"}`, `{"text":"out","output_text":1}`),
		}, []string{"id|status|text|output_text|output_output_text|job_status|error_type", "7|s|in|out|1|ok|"}},
		"an output that is no object": {Layout{Schema: json.RawMessage(`{"type":"array","items":{"type":"string"}}`)}, []batch.Result{
			rowResult(0, "", "", `["a"]`), rowResult(1, "", "", ``),
		}, []string{"output|status|error_type", `["a"]|ok|`, "|failed|Timeout"}},
		"an ID that is a carried field": {Layout{}, []batch.Result{rowResult(0, "x", `{"id":"x"}`, `{"text":"t"}`)}, []string{"id|text|status|error_type", "x|t|ok|"}},
		"another ID":                    {Layout{}, []batch.Result{rowResult(0, "y", `{"id":"x"}`, `{"text":"t"}`)}, []string{"job_id|id|text|status|error_type", "y|x|t|ok|"}},
	} {
		assert.Equal(t, c.want, cells(t, writtenTo(t, "r.csv", c.layout, c.results...)), name)
	}
}

func TestParquetColumns(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`{"type":"object","$defs":{"p":{"type":"object","properties":{"x":{"type":"number"},"tags":{"type":"array","items":{"type":"string"}}}}},
		"properties":{"kind":{"enum":["a","b"]},"n":{"type":"integer"},"score":{"type":"number"},"ok":{"type":"boolean"},
		"points":{"type":"array","items":{"$ref":"#/$defs/p"}},"free":{"type":"object"},"big":{"type":"integer"}}}`)
	path := writtenTo(t, "r.parquet", Layout{Carry: []string{"place", "mixed"}, Schema: schema},
		rowResult(2, "", `{"place":"c","mixed":1}`, ``),
		rowResult(0, "", `{"place":"a","mixed":1}`, `{"kind":"a","n":3.0,"score":1,"ok":true,"points":[{"x":1,"tags":["s","t"]},{"tags":[]},null],"free":{"b":1},"big":12345678901234567890}`),
		rowResult(1, "", `{"place":"b","mixed":"x"}`, `{"kind":"b","n":4,"score":0.5,"ok":false,"points":[],"big":1}`),
	)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	file, err := parquet.OpenFile(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	var names []string
	for _, f := range file.Schema().Fields() {
		names = append(names, fmt.Sprintf("%s %s", f.Name(), map[bool]string{true: "leaf", false: "group"}[f.Leaf()]))
	}
	assert.Equal(t, "place leaf,mixed leaf,kind leaf,n leaf,score leaf,ok leaf,points group,free leaf,big leaf,status leaf", strings.Join(names[:10], ","))

	type point struct {
		X    *float64 `parquet:"x,optional"`
		Tags []string `parquet:"tags,list,optional"`
	}
	type line struct {
		Place  string   `parquet:"place,optional"`
		Mixed  string   `parquet:"mixed,optional"`
		Kind   *string  `parquet:"kind,optional"`
		N      *int64   `parquet:"n,optional"`
		Score  *float64 `parquet:"score,optional"`
		OK     *bool    `parquet:"ok,optional"`
		Points []*point `parquet:"points,list,optional"`
		Free   *string  `parquet:"free,optional"`
		Big    *string  `parquet:"big,optional"`
		Index  int64    `parquet:"index,optional"`
		Error  string   `parquet:"error_message,optional"`
	}
	got, err := parquet.Read[line](bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	require.Len(t, got, 3)
	assert.Equal(t, "1", got[0].Mixed, "a column of numbers and texts is text")
	assert.Equal(t, "x", got[1].Mixed)
	assert.EqualValues(t, 3, *got[0].N)
	assert.InDelta(t, 1, *got[0].Score, 0)
	assert.Equal(t, `{"b":1}`, *got[0].Free)
	assert.Equal(t, "12345678901234567890", *got[0].Big, "a number that no 64-bit integer holds makes the column text")
	require.Len(t, got[0].Points, 3)
	assert.Equal(t, []string{"s", "t"}, got[0].Points[0].Tags)
	assert.InDelta(t, 1, *got[0].Points[0].X, 0)
	assert.Nil(t, got[0].Points[1].X)
	assert.Empty(t, got[1].Points)
	assert.Nil(t, got[2].Kind)
	assert.Equal(t, "=too late", got[2].Error)
	for i, l := range got {
		assert.EqualValues(t, i, l.Index, "the rows have the order of the inputs")
	}
}

func TestWholeFormatContinuesAfterKill(t *testing.T) {
	t.Parallel()
	results, lines := someResults(t, 5)
	for _, f := range formats {
		whole, ok := f.(Whole)
		if !ok {
			continue
		}
		path := filepath.Join(t.TempDir(), "r."+f.name())
		file, err := OpenFile(path, f, testBatch, 5)
		require.NoError(t, err)
		require.NoError(t, file.Write(results[3:], lines[3:]))
		require.NoError(t, file.f.Close(), "killed")
		assert.NoFileExists(t, path)

		file, err = OpenFile(path, f, testBatch, 5)
		require.NoError(t, err)
		assert.EqualValues(t, 2, file.Count(), f.name())
		require.NoError(t, file.Write(results[:3], lines[:3]))
		require.NoError(t, file.Close())
		record, err := OpenRecord(path)
		require.NoError(t, err, f.name())
		var seen []int64
		_, err = JSONL{}.Scan(record, func(r batch.Result, _, _ int64) error {
			seen = append(seen, r.Index)
			return nil
		})
		require.NoError(t, err)
		assert.ElementsMatch(t, indexesUpTo(5), seen)
		if whole.restore() != nil {
			assert.NoFileExists(t, RecordOf(path), f.name())
			assert.Equal(t, indexesUpTo(5), seen)
		}

		file, err = OpenFile(path, f, testBatch, 5)
		require.NoError(t, err)
		assert.EqualValues(t, 5, file.Count(), f.name())
		require.NoError(t, file.Close())
		if whole.restore() == nil {
			require.NoError(t, os.Remove(RecordOf(path)))
			_, err = OpenFile(path, f, testBatch, 5)
			require.ErrorContains(t, err, "the record of its results, does not")
			assert.True(t, fault.IsUsage(err))
		}
	}
}

func TestWholeFormatWithoutResultsLeavesNoFile(t *testing.T) {
	t.Parallel()
	path := writtenTo(t, "r.csv", Layout{})
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestPipedWritesInOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	file, err := OpenPiped(&out, CSV{}, "")
	require.NoError(t, err)
	results, lines := someResults(t, 3)
	require.NoError(t, file.Write(results[2:], lines[2:]))
	require.NoError(t, file.Write(results[:2], lines[:2]))
	dir := filepath.Dir(file.Record())
	require.NoError(t, file.Close())
	table, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 4)
	assert.NoDirExists(t, dir)
}
