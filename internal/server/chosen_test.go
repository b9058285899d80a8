package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestSubmissionChoosesRows(t *testing.T) {
	w := serve(t, nil)
	object := func(fields string) answered {
		return w.ask("POST", "/api/v1/batches", `{"spec":{"name":"n","task":"Sum {x}"},"inputs":[{"x":1},{"x":2},{"x":3}]`+fields+`}`, "Content-Type", "application/json")
	}
	for name, a := range map[string]answered{
		"limit in an object":    object(`,"limit":2`),
		"sample in an object":   object(`,"sample":2,"seed":7`),
		"limit before lines":    w.submit(`{"spec":{"name":"n","task":"Sum {x}"},"limit":2}` + "\n{\"x\":1}\n{\"x\":2}\n{\"x\":3}\n"),
		"limit larger than all": w.submit(`{"spec":{"name":"n","task":"Sum {x}"},"limit":9}` + "\n{\"x\":1}\n{\"x\":2}\n"),
		"limit in a form": func() answered {
			body, kind := form(t, "spec", "name: n\ntask: Sum {x}\n", "limit", "2", "inputs", "{\"x\":1}\n{\"x\":2}\n{\"x\":3}\n")
			return w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, http.StatusCreated, a.status, a.body)
			var s Submitted
			a.json(t, &s)
			assert.EqualValues(t, 2, s.Total)
			if !strings.HasPrefix(name, "sample") {
				assert.Nil(t, s.Rows, "an index is a row")
				return
			}
			require.Len(t, s.Rows, 2)
			var j JobView
			w.ask("GET", "/api/v1/batches/"+string(s.ID)+"/jobs/1", "").json(t, &j)
			assert.JSONEq(t, fmt.Sprintf(`{"x":%d}`, s.Rows[1]+1), string(j.Input))
		})
	}
	for fields, says := range map[string]string{
		`,"limit":0`:                  "limit is 0; it must be a number of rows above 0",
		`,"limit":"2"`:                `limit is "2"`,
		`,"limit":1,"sample":1`:       "give one of them",
		`,"seed":1`:                   "seed goes with sample",
		`,"rerun":"failed"`:           `rerun is not {"batch"`,
		`,"rerun":{"where":"failed"}`: "the text batch is missing",
		`,"rerun":{"batch":"r.jsonl","where":"failed"}`:                       "r.jsonl",
		`,"rerun":{"batch":"owner","where":"failed"}`:                         "owner",
		`,"rerun":{"batch":"b_01k0000000000000000000000a","where":"failed"}`:  "no such batch",
		`,"rerun":{"batch":"b_01k0000000000000000000000a","where":"failed("}`: "rerun: ",
		`,"rerun":{"batch":"b_01k0000000000000000000000a"}`:                   "the text where is missing",
	} {
		t.Run(fields, func(t *testing.T) {
			a := object(fields)
			assert.Contains(t, a.problem(t).Detail, says)
			assert.Less(t, a.status, 500)
		})
	}
	body, kind := form(t, "spec", "name: n\ntask: Sum {x}\n", "limit", "2", "limit", "3", "inputs", "{\"x\":1}\n")
	assert.Contains(t, w.ask("POST", "/api/v1/batches", body, "Content-Type", kind).problem(t).Detail, "each at most once")
}

func TestSubmissionTakesResultsOfABatch(t *testing.T) {
	w := serve(t, nil)
	_, done := w.scene()
	a := w.ask("POST", "/api/v1/batches", `{"spec":{"name":"n","task":"Judge {summary}","inputs":{"batch":"`+string(done)+`"}}}`, "Content-Type", "application/json")
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var s Submitted
	a.json(t, &s)
	assert.EqualValues(t, 216, s.Total)
}

func TestDurationsAreTexts(t *testing.T) {
	w := serve(t, nil)
	running, _ := w.scene()
	require.NoError(t, w.store.Register(t.Context(), batch.WorkerRecord{ID: "n", Consumer: "n-1", Sharing: map[string]batch.ToolSharing{"t": {Share: "ttl", TTL: 90_000_000_000}}}, 60_000_000_000))
	var v struct{ TTL string }
	w.ask("GET", "/api/v1/batches/"+string(running), "").json(t, &v)
	assert.Equal(t, "1h", v.TTL)
	assert.Contains(t, w.ask("GET", "/api/v1/batches", "").body, `"ttl":"1h"`)
	assert.Contains(t, w.ask("GET", "/api/v1/workers", "").body, `"sharing":{"t":{"share":"ttl","ttl":"1m30s"}}`)
	for wait, status := range map[string]int{"0": 200, "1ms": 200, "0s": 200, "31": 400, "31s": 400, "-1s": 400, "soon": 400} {
		assert.Equal(t, status, w.ask("GET", "/api/v1/batches/"+string(running)+"/results?wait="+wait, "").status, wait)
	}
}
