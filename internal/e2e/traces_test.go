package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
)

// span is one received span.
type span struct {
	name, id, parent, trace, service string
	attrs                            map[string]string
}

// receiver is an OTLP/HTTP collector.
type receiver struct {
	mu    sync.Mutex
	spans []span // guarded by mu
	raw   []byte // guarded by mu: all received bytes
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var in tracepb.TracesData
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = proto.Unmarshal(body, &in)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, body...)
	for _, rs := range in.ResourceSpans {
		service := attributes(rs.Resource.Attributes)["service.instance.id"]
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, span{
					name: s.Name, id: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId),
					trace: hex.EncodeToString(s.TraceId), service: service, attrs: attributes(s.Attributes),
				})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attributes(all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			out[kv.Key] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_DoubleValue:
			out[kv.Key] = fmt.Sprint(v.DoubleValue)
		case *common.AnyValue_ArrayValue:
			out[kv.Key] = v.ArrayValue.String()
		}
	}
	return out
}

func (r *receiver) got() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]span(nil), r.spans...)
}

// parents records the parent spans in the Traceparent headers of requests.
type parents struct {
	mu   sync.Mutex
	seen map[string]bool // guarded by mu: "<trace>/<span>"
}

func (p *parents) note(h http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if part := strings.Split(h.Get("Traceparent"), "-"); len(part) == 4 {
		if p.seen == nil {
			p.seen = map[string]bool{}
		}
		p.seen[part[1]+"/"+part[2]] = true
	}
}

func (p *parents) has(s span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[s.trace+"/"+s.id]
}

// traces returns the number of jobs with a finished model call, and the number of finished root spans.
func traces(spans []span) (begun, ended int) {
	called := map[string]bool{}
	for _, s := range spans {
		if strings.HasPrefix(s.name, "chat ") {
			called[s.trace] = true
		}
		if s.name == "job" || strings.HasPrefix(s.name, "job ") {
			ended++
		}
	}
	return len(called), ended
}

// TestTraces runs jobs on two workers, kills one of them, and collects spans. Each job must be one trace with one tree of spans,
// whichever workers ran its attempts. The model server and an HTTP tool must get the IDs of their spans. No span may contain
// content of a job.
func TestTraces(t *testing.T) {
	sink := &receiver{}
	collect := httptest.NewServer(sink)
	defer collect.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collect.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20planted-header")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("VLLM_API_KEY", "planted-key")

	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	var toModel, toTool parents
	target, err := url.Parse("http://" + bin.simulator(t, "--forward-ms", "60"))
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{IdleConnTimeout: 4 * time.Second} // like the simulator's, or shorter
	// While holding is set, jobs wait in their second call. Its prompt contains a tool result.
	var holding atomic.Bool
	released := make(chan struct{})
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toModel.note(r.Header)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if holding.Load() && bytes.Contains(body, []byte(`"role":"tool"`)) {
			select {
			case <-released:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer model.Close()
	facts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toTool.note(r.Header)
		fmt.Fprint(w, "planted-fact")
	}))
	defer facts.Close()
	tools := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(tools, []byte("http:\n  facts:\n    description: The facts.\n    url: "+facts.URL+"/facts\n    share: pure\n"), 0o600))
	const n = 60
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(strings.Repeat("{\"about\":\"planted-input\"}\n", n)), 0o600))
	specFile := filepath.Join(dir, "batch.yaml")
	require.NoError(t, os.WriteFile(specFile, []byte("name: traced\nsystem_prompt: planted-system\ntask: \"Say something of {about}: use facts.\"\n"+
		"inputs: inputs.jsonl\ntools: [facts]\n"), 0o600))
	start := func(id string) *processkit.Process {
		return bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+strings.TrimPrefix(model.URL, "http://"), "--id", id,
			"--tools", tools, "--lease", "2s", "--max-inflight", "4", "--max-agents", "8")
	}
	first := start("node-1")
	id := submitted(t, bin, redis.URL(), specFile)
	require.Eventually(t, func() bool { return info(t, bin, redis.URL(), id).Counts.Finished() >= n/5 }, 60*time.Second, 10*time.Millisecond)
	holding.Store(true)
	require.Eventually(t, func() bool {
		begun, ended := traces(sink.got())
		return int64(ended) == info(t, bin, redis.URL(), id).Counts.Finished() && begun > ended
	}, 60*time.Second, 10*time.Millisecond, "a running job whose spans reached the collector")
	require.NoError(t, first.Signal(syscall.SIGKILL))
	<-first.Ended()
	close(released)
	second := start("node-2")
	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	require.NoError(t, second.Signal(syscall.SIGTERM)) // draining sends the remaining spans
	<-second.Ended()
	results := once(t, out, n)

	byID, roots := map[string]span{}, map[string]span{}
	sources, workers, kinds := map[string]int{}, map[string]int{}, map[string]int{}
	for _, s := range sink.got() {
		byID[s.trace+"/"+s.id] = s
	}
	for _, s := range sink.got() {
		kind, _, _ := strings.Cut(s.name, " ")
		kinds[kind]++
		workers[s.service]++
		above, known := byID[s.trace+"/"+s.parent]
		switch kind {
		case "job":
			assert.Empty(t, s.parent)
			_, twice := roots[s.attrs["batchagent.job.index"]]
			assert.False(t, twice, "job %s has two roots", s.attrs["batchagent.job.index"])
			roots[s.attrs["batchagent.job.index"]] = s
		case "invoke_agent":
			if known { // the killed worker may have finished this job before
				assert.Equal(t, "job", above.name)
			}
			assert.Equal(t, "traced", s.attrs["gen_ai.agent.name"])
		case "turn":
			assert.True(t, !known && s.service == "node-1" || strings.HasPrefix(above.name, "invoke_agent "), "%v", above)
		case "chat":
			assert.True(t, !known && s.service == "node-1" || above.name == "turn", "%v", above)
			assert.True(t, toModel.has(s), "the server got the span %v", s)
			assert.Equal(t, "vllm", s.attrs["gen_ai.provider.name"])
			assert.NotEmpty(t, s.attrs["gen_ai.request.model"])
			if s.attrs["error.type"] != "" {
				continue
			}
			assert.NotEmpty(t, s.attrs["gen_ai.usage.input_tokens"])
			assert.NotEmpty(t, s.attrs["gen_ai.usage.cache_read.input_tokens"])
			assert.NotEmpty(t, s.attrs["gen_ai.usage.output_tokens"])
		case "execute_tool":
			assert.True(t, !known && s.service == "node-1" || above.name == "turn", "%v", above)
			assert.Equal(t, "facts", s.attrs["gen_ai.tool.name"])
			source := s.attrs["batchagent.tool.source"]
			sources[source]++
			assert.Equal(t, source != "executed", s.attrs["batchagent.tool.shared"] == "true")
			if source == "executed" {
				assert.True(t, toTool.has(s), "the tool got the span %v", s)
				assert.Equal(t, s.service, s.attrs["batchagent.tool.executed_by"])
			}
		}
	}
	again := 0
	for _, r := range results {
		index := fmt.Sprint(r.Index)
		root, ok := roots[index]
		if !ok {
			require.Equal(t, "node-1", r.Worker, "job %s has no root span, but the killed worker did not run it", index)
			continue
		}
		assert.Equal(t, "ok", root.attrs["batchagent.outcome"])
		assert.Equal(t, fmt.Sprint(r.Usage.PromptTokens), root.attrs["gen_ai.usage.input_tokens"], "job %s", index)
		if r.Attempts < 2 {
			continue
		}
		// The spans that the killed worker sent are in the same trace as those of the other worker.
		for _, s := range byID {
			if s.trace == root.trace && s.service == "node-1" && root.service == "node-2" {
				again++
				break
			}
		}
	}
	assert.Positive(t, again, "no job has spans of both workers in one trace")
	assert.Positive(t, sources["executed"])
	assert.Greater(t, sources["process"]+sources["cache"]+sources["cluster"], sources["executed"], "calls were shared: %v", sources)
	assert.Positive(t, workers["node-1"])
	assert.Positive(t, workers["node-2"])
	assert.NotContains(t, string(sink.raw), "planted", "spans hold no prompts, results and secrets")
	t.Logf("%d spans of %d jobs, %d of them on both workers: %v; tool calls: %v", len(byID), n, again, kinds, sources)
}
