package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const lines = `{"spec":{"name":"notes","owner":"ana","task":"Sum up {text}"}}` + "\n" + `{"text":"a"}` + "\n" + `{"text":"b"}` + "\n"

func (w *world) submit(body string, headers ...string) answered {
	w.Helper()
	return w.ask("POST", "/api/v1/batches", body, append([]string{"Content-Type", ndjson}, headers...)...)
}

// form encodes a submission as a form. parts are names and contents.
func form(t testing.TB, parts ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	f := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		require.NoError(t, f.WriteField(parts[i], parts[i+1]))
	}
	require.NoError(t, f.Close())
	return b.String(), f.FormDataContentType()
}

func TestSubmit(t *testing.T) {
	w := serve(t, nil)
	a := w.submit(lines)
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var s Submitted
	a.json(t, &s)
	assert.EqualValues(t, 2, s.Total)
	assert.Equal(t, "/api/v1/batches/"+string(s.ID), a.header.Get("Location"))
	var v BatchView
	w.ask("GET", a.header.Get("Location"), "").json(t, &v)
	assert.Equal(t, batch.Sealed, v.Phase)
	assert.Equal(t, "ana", v.Owner)
	assert.EqualValues(t, 2, v.Counts.Waiting)
	assert.Contains(t, v.Trouble, "no worker is alive")

	body, kind := form(t, "spec", "name: table\ntask: Sum {x}\ninputs: {stdin: csv}\n", "inputs", "x\n1\n2\n3\n")
	a = w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
	require.Equal(t, http.StatusCreated, a.status, a.body)
	a.json(t, &s)
	assert.EqualValues(t, 3, s.Total)

	body, kind = form(t, "spec", "name: inline\ntask: Sum {x}\ninputs: [{x: 1}]\n")
	a = w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
	require.Equal(t, http.StatusCreated, a.status, a.body)

	a = w.ask("POST", "/api/v1/batches", "{\"spec\":\n{\"name\":\"one\",\"task\":\"Sum {x}\",\"inputs\":[{\"x\":1}]}}", "Content-Type", "application/json")
	require.Equal(t, http.StatusCreated, a.status, a.body)

	a = w.ask("POST", "/api/v1/batches", "{\n \"spec\": {\"name\":\"object\",\"task\":\"Sum {x}\"},\n \"inputs\": [\n  {\"x\":\n 1},\n  {\"x\": 2}\n ]\n}", "Content-Type", "application/json")
	require.Equal(t, http.StatusCreated, a.status, a.body)
	a.json(t, &s)
	assert.EqualValues(t, 2, s.Total)

	body, kind = form(t, "spec", "name: planned\nplan: {task: List them.}\ntask: Sum {item}\nreduce: {task: Join them.}\n")
	a = w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
	require.Equal(t, http.StatusCreated, a.status, a.body)
	a.json(t, &s)
	assert.Zero(t, s.Total, "unknown before the plan")
	var stage BatchView
	w.ask("GET", "/api/v1/batches/"+string(s.ID.ForStage(batch.StagePlan)), "").json(t, &stage)
	assert.Equal(t, batch.Sealed, stage.Phase)
	assert.EqualValues(t, 1, stage.Counts.Total)

	a = w.submit(`{"plan":{"name":"compiled","system":"","task":"Say {x}","max_turns":2,"max_attempts":3,"ttl":3600000000000,"timeouts":{"turn":0,"tool":0},"sampling":{}}}` + "\n" +
		`{"in":{"x":"a"}}` + "\n" + `{"bad":"line 2 is torn"}` + "\n")
	require.Equal(t, http.StatusCreated, a.status, a.body)
	a.json(t, &s)
	assert.EqualValues(t, 2, s.Total)
	var j JobView
	w.ask("GET", "/api/v1/batches/"+string(s.ID)+"/jobs/1", "").json(t, &j)
	assert.Equal(t, "line 2 is torn", j.Bad)
	var list Batches
	w.ask("GET", "/api/v1/batches?limit=2", "").json(t, &list)
	require.Len(t, list.Batches, 2)
	assert.Equal(t, "compiled", list.Batches[0].Name, "newest first")
}

func TestInvalidSubmissions(t *testing.T) {
	w := serve(t, func(c *Config) { c.MaxBody = 1 << 20 })
	secret := filepath.Join(t.TempDir(), "secret.json")
	require.NoError(t, os.WriteFile(secret, []byte(`{"planted":"s3cret"}`), 0o600))
	spec := func(text string) func() answered {
		return func() answered {
			body, kind := form(t, "spec", text, "inputs", `{"x":1}`)
			return w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
		}
	}
	for name, c := range map[string]struct {
		ask    func() answered
		status int
		name   string
		says   []string
	}{
		"every mistake at once": {spec("name: x\ntsk: y\nmax_turns: many\n"), 400, "invalid", []string{"spec.yaml:2", "tsk", "spec.yaml:3", "max_turns"}},
		"prompt from a file":    {spec("name: x\ntask: {file: " + secret + "}\n"), 400, "invalid", []string{"a file of the server"}},
		"schema from a file":    {spec("name: x\ntask: y {x}\noutput_schema: " + secret + "\n"), 400, "invalid", []string{"a file of the server"}},
		"inputs from a file":    {spec("name: x\ntask: y {planted}\ninputs: " + secret + "\n"), 400, "invalid", []string{"a file of the server"}},
		"inputs from a glob":    {spec("name: x\ntask: y {path}\ninputs: {glob: '/etc/*'}\n"), 400, "invalid", []string{"a file of the server"}},
		"inputs twice":          {spec("name: x\ntask: y {x}\ninputs: [{x: 1}]\n"), 400, "invalid", []string{"remove one of them"}},
		"bad inputs": {func() answered { return w.submit(`{"spec":{"name":"x","task":"y {x}"}}` + "\n{\"x\":1}\n{torn\n") },
			400, "invalid", []string{"inputs:2", "on_bad_input"}},
		"unknown field": {func() answered { return w.submit(`{"spec":{"name":"x","task":"y {z}"}}` + "\n{\"x\":1}\n") },
			400, "invalid", []string{`no input has a field "z"`}},
		"no inputs": {func() answered { return w.submit(`{"spec":{"name":"x","task":"y {x}"}}`) }, 400, "invalid", []string{"no inputs"}},
		"a field twice": {func() answered {
			return w.submit(`{"spec":{"name":"x","task":"y {x}"},"spec":{"name":"z","task":"z {x}"}}` + "\n{\"x\":1}\n")
		}, 400, "invalid", []string{`the field "spec" occurs twice`}},
		"inputs in the first line": {func() answered {
			return w.submit(`{"spec":{"name":"x","task":"y {x}"},"inputs":[{"x":2}]}` + "\n{\"x\":1}\n")
		}, 400, "invalid", []string{`unknown field "inputs"`}},
		"an object with a field twice": {func() answered {
			return w.ask("POST", "/api/v1/batches", `{"spec":{"name":"x","task":"y {x}"},"inputs":[{"x":1}],"inputs":[]}`, "Content-Type", "application/json")
		}, 400, "invalid", []string{`the field "inputs" occurs twice`}},
		"an object with a misspelt field": {func() answered {
			return w.ask("POST", "/api/v1/batches", `{"spec":{"name":"x","task":"y {x}"},"Inputs":[{"x":1}]}`, "Content-Type", "application/json")
		}, 400, "invalid", []string{`unknown field "Inputs"`}},
		"no spec": {func() answered { return w.submit(`{"x":1}` + "\n") }, 400, "invalid", []string{`{"spec":{…}}`}},
		"a job of inputs": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1}}` + "\n{\"x\":1}\n")
		}, 400, "invalid", []string{`job 1 is not`}},
		"a stage of another batch": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1,"plans":"b_01k5x8zq3v6t9w2y4a7c1d0efg"}}` + "\n{\"in\":{}}\n")
		}, 400, "invalid", []string{"a stage of another batch"}},
		"a planner without items": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1},"planner":{"name":"y","max_turns":1,"max_attempts":1,"ttl":1,"max_items":3}}`)
		}, 400, "invalid", []string{"planner", "array `items`"}},
		"a plan without max_items": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1},"planner":{"name":"y","max_turns":1,"max_attempts":1,"ttl":1}}`)
		}, 400, "invalid", []string{"max_items 0"}},
		"jobs beside a planner": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1},"planner":{"name":"y","max_turns":1,"max_attempts":1,"ttl":1,"max_items":3,` +
				`"schema":{"type":"object","properties":{"items":{"type":"array"}},"required":["items"]}}}` + "\n{\"in\":{}}\n")
		}, 400, "invalid", []string{"remove one of them"}},
		"a reducer with tools": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1},"reduce":{"name":"y","max_turns":1,"max_attempts":1,"ttl":1,"tools":["read_file"]}}` + "\n{\"in\":{}}\n")
		}, 400, "invalid", []string{"a reducer has no tools"}},
		"stages beside a spec": {func() answered {
			return w.submit(`{"spec":{"name":"x","task":"y {x}"},"reduce":{}}` + "\n{\"x\":1}\n")
		}, 400, "invalid", []string{"its fields plan and reduce"}},
		"a job that has ended": {func() answered {
			return w.submit(`{"plan":{"name":"x","max_turns":1,"max_attempts":1,"ttl":1}}` + "\n{\"in\":{},\"ended\":{\"status\":\"ok\"}}\n")
		}, 400, "invalid", []string{`job 1 is not`}},
		"a plan that no spec gives": {func() answered { return w.submit(`{"plan":{"name":"x","max_turns":0}}` + "\n{\"in\":{}}\n") },
			400, "invalid", []string{"max_turns is 0"}},
		"too large": {func() answered { return w.submit(lines + strings.Repeat(`{"text":"more"}`+"\n", 100_000)) }, 413, "too-large", []string{"1048576 bytes"}},
		"spec too large": {func() answered { return w.submit(`{"spec":"` + strings.Repeat("x", 2<<20) + `"}`) },
			413, "too-large", []string{"1048576 bytes"}},
		"media type": {func() answered { return w.ask("POST", "/api/v1/batches", "x", "Content-Type", "text/html") }, 415, "media-type", []string{"multipart/form-data"}},
		"parts in the wrong order": {func() answered {
			body, kind := form(t, "inputs", "{}", "spec", "x")
			return w.ask("POST", "/api/v1/batches", body, "Content-Type", kind)
		}, 400, "invalid", []string{"must be spec"}},
		"key too long": {func() answered { return w.submit(lines, "Idempotency-Key", strings.Repeat("k", 300)) }, 400, "invalid", []string{"255 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.ask()
			p := a.problem(t)
			assert.Equal(t, c.status, a.status, a.body)
			assert.Equal(t, "urn:batchagent:problem:"+c.name, p.Type)
			for _, says := range c.says {
				assert.Contains(t, p.Detail, says)
			}
			assert.NotContains(t, a.body, "s3cret")
		})
	}
	infos, err := w.store.List(t.Context())
	require.NoError(t, err)
	assert.Empty(t, infos, "nothing was submitted")
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "batchagent-jobs-*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no spool file is left")
}

func TestSubmitRefusesToolsWithoutWorker(t *testing.T) {
	w := serve(t, nil)
	body := `{"spec":{"name":"x","task":"y {x}","tools":["telepathy"]}}` + "\n{\"x\":1}\n"
	a := w.submit(body)
	require.Equal(t, http.StatusCreated, a.status)
	assert.Contains(t, a.body, "no worker is up", "a warning, because no worker is up")
	w.workers()
	p := w.submit(body).problem(t)
	assert.Equal(t, http.StatusBadRequest, p.Status)
	assert.Contains(t, p.Detail, "telepathy")
}

func TestIdempotencyKey(t *testing.T) {
	w := serve(t, nil)
	var first, again, other Submitted
	a := w.submit(lines, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusCreated, a.status)
	a.json(t, &first)
	a = w.submit(lines, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusOK, a.status, a.body)
	a.json(t, &again)
	assert.Equal(t, first.ID, again.ID)
	w.submit(lines, "Idempotency-Key", "k2").json(t, &other)
	assert.NotEqual(t, first.ID, other.ID)
	p := w.submit(lines+`{"text":"c"}`+"\n", "Idempotency-Key", "k1").problem(t)
	assert.Equal(t, http.StatusUnprocessableEntity, p.Status)
	assert.Contains(t, p.Detail, string(first.ID))

	// The same key also returns the batch after it was cancelled or done.
	require.Equal(t, http.StatusOK, w.ask("POST", "/api/v1/batches/"+string(first.ID)+"/cancel", "").status)
	a = w.submit(lines, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusOK, a.status, a.body)
}

// A submission that the server's death interrupted continues under its key.
func TestSubmissionResumesUnderItsKey(t *testing.T) {
	w := serve(t, nil)
	var body strings.Builder
	body.WriteString(`{"spec":{"name":"many","task":"Sum up {text}"}}` + "\n")
	for i := range 1200 {
		fmt.Fprintf(&body, "{\"text\":\"%d\"}\n", i)
	}
	var s Submitted
	w.submit(body.String(), "Idempotency-Key", "k").json(t, &s)
	// Simulate a stop after the first chunk: create the batch again under the key's ID.
	ctx := t.Context()
	_, err := w.store.Cancel(ctx, s.ID)
	require.NoError(t, err)
	cancelled := 0
	for try := 0; try < 20 && cancelled != http.StatusOK; try++ { // each request waits for a while and returns 202 if the cancellation continues
		cancelled = w.ask("POST", "/api/v1/batches/"+string(s.ID)+"/cancel", "").status
	}
	require.Equal(t, http.StatusOK, cancelled)
	require.Equal(t, http.StatusOK, w.ask("DELETE", "/api/v1/batches/"+string(s.ID), "").status)
	require.NoError(t, w.store.Create(ctx, batch.Header{ID: s.ID, Name: "many", MaxAttempts: 3, TTL: time.Hour}, []byte("{}")))
	_, err = w.store.Feed(ctx, s.ID, 0, [][]byte{[]byte(`{"in":{"text":"0"}}`)})
	require.NoError(t, err)
	a := w.submit(body.String(), "Idempotency-Key", "k")
	require.Equal(t, http.StatusOK, a.status, a.body)
	info, err := w.store.Info(ctx, s.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 1200, info.Counts.Total)
	assert.EqualValues(t, 1200, info.Counts.Fed)
}

// Results of a batch with transcripts replace a dropped journal.
func TestTranscriptOfEndedJob(t *testing.T) {
	v := JobView{JobID: "job-0", Turns: []agent.Turn{}, Result: json.RawMessage(`{"status":"ok","transcript":[
		{"assistant":{"role":"assistant","tool_calls":[{"id":"c1","name":"read_file","arguments":"{}"}]},
		 "tools":[{"role":"tool","tool_call_id":"c1","content":"text"}],"sources":[{"from":"cluster","by":"node-2"}]},
		{"assistant":{"role":"assistant","content":"done"}}]}`)}
	require.NoError(t, v.fromResult())
	require.Len(t, v.Turns, 2)
	assert.Equal(t, "shared, ran on node-2", source(v.Turns[0], "c1"))
	assert.Empty(t, source(v.Turns[0], "c2"))
	assert.Equal(t, "done", v.Turns[1].Assistant.Content)

	v.Turns = v.Turns[1:]
	require.NoError(t, v.fromResult())
	assert.Len(t, v.Turns, 1, "the journal of a retried job takes precedence over its earlier result")
}

func TestJobAndJournal(t *testing.T) {
	w := serve(t, nil)
	running, done := w.scene()
	var j JobView
	w.ask("GET", "/api/v1/batches/"+string(running)+"/jobs/210", "").json(t, &j)
	assert.Equal(t, consumer, j.Holder)
	assert.Equal(t, 1, j.Attempt)
	assert.False(t, j.Finished)
	require.Len(t, j.Turns, 2)
	assert.Equal(t, "read_file", j.Turns[0].Assistant.ToolCalls[0].Name)
	assert.Contains(t, string(j.Input), "papers/0210.txt")
	assert.Equal(t, "null", string(j.Result))

	var f JobView
	w.ask("GET", "/api/v1/batches/"+string(done)+"/jobs/10", "").json(t, &f)
	assert.True(t, f.Finished)
	assert.Contains(t, string(f.Result), "OutputInvalid", "a failed job's result is found without its cursor")
	var ok JobView
	w.ask("GET", "/api/v1/batches/"+string(done)+"/jobs/0?cursor=1", "").json(t, &ok)
	assert.Contains(t, string(ok.Result), "Paper 0 claims")
	assert.Empty(t, ok.Turns, "its journal is dropped")
	for _, path := range []string{"/jobs/400", "/jobs/x", "/jobs/-1"} {
		assert.Equal(t, http.StatusNotFound, w.ask("GET", "/api/v1/batches/"+string(running)+path, "").problem(t).Status, path)
	}
}

func TestClusterLists(t *testing.T) {
	w := serve(t, nil)
	assert.JSONEq(t, `{"workers":[]}`, w.ask("GET", "/api/v1/workers", "").body)
	assert.JSONEq(t, `{"tools":[]}`, w.ask("GET", "/api/v1/tools", "").body)
	w.workers()
	var workers Workers
	w.ask("GET", "/api/v1/workers", "").json(t, &workers)
	require.Len(t, workers.Workers, 3)
	var tools Tools
	w.ask("GET", "/api/v1/tools", "").json(t, &tools)
	assert.Equal(t, Tool{"files.search", []string{"node-1", "node-2", "node-3"},
		batch.ToolUse{Asked: 3600, Executed: 900, Shared: 2100, Cached: 600, Finished: 900, Seconds: 2790}, 8370}, tools.Tools[0])
	var backends Backends
	w.ask("GET", "/api/v1/backends", "").json(t, &backends)
	assert.Equal(t, "vllm", backends.Backends[0].Name)
	assert.Equal(t, "ok\n", w.ask("GET", "/healthz", "").body)
	assert.Equal(t, "ok\n", w.ask("GET", "/readyz", "").body)
	p := w.ask("GET", "/api/v1/nothing", "").problem(t)
	assert.Equal(t, http.StatusNotFound, p.Status)
}

func TestRedisAway(t *testing.T) {
	w := serve(t, nil)
	w.redis.Close()
	for _, path := range []string{"/readyz", "/api/v1/batches", "/api/v1/workers"} {
		p := w.ask("GET", path, "").problem(t)
		assert.Equal(t, http.StatusServiceUnavailable, p.Status, path)
		assert.Equal(t, "urn:batchagent:problem:unreachable", p.Type, path)
	}
	assert.Equal(t, http.StatusServiceUnavailable, w.submit(lines).status)
	assert.Equal(t, http.StatusOK, w.ask("GET", "/healthz", "").status)
}

func TestRates(t *testing.T) {
	w := serve(t, func(c *Config) { c.Rate = 2 })
	limited := 0
	for range 20 {
		if a := w.ask("GET", "/api/v1/backends", ""); a.status == http.StatusTooManyRequests {
			limited++
			wait, err := strconv.Atoi(a.header.Get("Retry-After"))
			require.NoError(t, err)
			assert.Positive(t, wait)
		}
	}
	assert.Positive(t, limited)
	assert.Equal(t, http.StatusOK, w.ask("GET", "/healthz", "").status, "a probe is never limited")
}

// A client that does not read is disconnected, and its slot is released.
func TestSlowReaderIsDisconnected(t *testing.T) {
	w := serve(t, func(c *Config) { c.Streams, c.Patience = 1, 50*time.Millisecond })
	id := w.batch("big", 300)
	for jobs := w.claim(id, 256); len(jobs) > 0; jobs = jobs[min(len(jobs), 32):] {
		var done []statestore.Completion
		for _, j := range jobs[:min(len(jobs), 32)] {
			done = append(done, statestore.Completion{Lease: j.Lease, Result: batch.Result{
				Batch: id, JobID: batch.JobID(j.Lease.Job.Index), Index: j.Lease.Job.Index, Status: batch.OK,
				Output: json.RawMessage(`"` + strings.Repeat("x", 100_000) + `"`),
			}})
		}
		_, _, err := w.store.Finish(t.Context(), id, done)
		require.NoError(t, err)
	}
	for _, path := range []string{"/results?limit=1000", "/events"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		// 25 MB exceed the buffers of both sockets.
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
		_, err = fmt.Fprintf(c, "GET /api/v1/batches/%s%s HTTP/1.1\r\nHost: localhost\r\n\r\n", id, path)
		require.NoError(t, err)
		one := make([]byte, 1)
		_, err = c.Read(one) // the answer has begun
		require.NoError(t, err)
		for len(w.srv.streams) > 0 {
			require.NoError(t, t.Context().Err())
			runtime.Gosched()
		}
		require.NoError(t, c.Close())
	}
	assert.Equal(t, http.StatusOK, w.ask("GET", "/api/v1/batches/"+string(id)+"/results?limit=1", "").status)
}
