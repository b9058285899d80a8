package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
)

// programs are the built commands.
type programs struct{ dir string }

var build = sync.OnceValues(func() (programs, error) {
	dir, err := os.MkdirTemp("", "batchagent-e2e-")
	if err != nil {
		return programs{}, err
	}
	builtIn = dir
	return programs{dir}, processkit.Build(context.Background(), dir, "../..", "./cmd/...")
})

// builtIn is the folder with the programs, or "" before build.
var builtIn string

func built(t *testing.T) programs {
	t.Helper()
	p, err := build()
	require.NoError(t, err)
	return p
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(builtIn)
	os.Exit(code)
}

// start starts a program, which ends with the test. If the test fails, it shows the end of the program's output.
func (pr programs) start(t *testing.T, name string, args ...string) *processkit.Process {
	t.Helper()
	p, err := processkit.Start(filepath.Join(pr.dir, name), nil, args...)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			out := p.Log()
			t.Logf("%s %v:\n%s", name, args, out[max(0, len(out)-4000):])
		}
	})
	return p
}

// run runs a program to its end and returns its output.
func (pr programs) run(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(pr.dir, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// simulator starts a vllmsim and waits until it answers.
func (pr programs) simulator(t *testing.T, flags ...string) (address string) {
	t.Helper()
	addr := freeAddress(t)
	pr.start(t, "vllmsim", append([]string{"--listen", addr}, flags...)...)
	untilOK(t, "http://"+addr+"/health")
	return addr
}

// untilOK waits until a started process answers.
func untilOK(t *testing.T, url string) {
	t.Helper()
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond, "%s does not answer", url)
}

// recorded puts a recorder between one worker and a simulator, and returns the backend URL.
func recorded(t *testing.T, addr, worker string, rec *recorder) string {
	t.Helper()
	target, err := url.Parse("http://" + addr)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: 4 * time.Second}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chat/completions") {
			body, err := io.ReadAll(r.Body)
			if err == nil && rec.note(worker, body) {
				<-r.Context().Done()
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return "vllm://" + strings.TrimPrefix(srv.URL, "http://")
}

// recorder records every model call by job, in order: the worker and the number of messages.
type recorder struct {
	mu    sync.Mutex
	calls map[string][]call // guarded by mu
	// stuck selects calls that get no answer as long as their worker lives. It is called with mu held. Nil selects no call.
	stuck func(worker, prompt string) bool
}

type call struct {
	worker   string
	messages int
}

// note records a call and reports whether it is stuck.
func (r *recorder) note(worker string, body []byte) bool {
	var req struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if json.Unmarshal(body, &req) != nil || len(req.Messages) < 2 {
		return false
	}
	// The first user message names the job's own file, which differs for every job.
	var user string
	for _, raw := range req.Messages {
		var m struct{ Role, Content string }
		if json.Unmarshal(raw, &m) == nil && m.Role == "user" {
			user = m.Content
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[string][]call{}
	}
	r.calls[user] = append(r.calls[user], call{worker, len(req.Messages)})
	return r.stuck != nil && r.stuck(worker, user)
}

// restarted returns the jobs that repeated their first call after a later one. It ignores calls of the worker that slept: it
// wakes with agents that hold stale tokens, and one may make a call before the worker learns that it was fenced.
func (r *recorder) restarted(slept string) (jobs []string, calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for job, made := range r.calls {
		calls += len(made)
		most := 0
		for _, c := range made {
			if c.messages < most && c.worker != slept {
				jobs = append(jobs, job)
				break
			}
			most = max(most, c.messages)
		}
	}
	return jobs, calls
}

// askers returns the number of calls per worker for prompts with the given beginning.
func (r *recorder) askers(prompt string) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := map[string]int{}
	for asked, calls := range r.calls {
		if strings.HasPrefix(asked, prompt) {
			for _, c := range calls {
				by[c.worker]++
			}
		}
	}
	return by
}

func (r *recorder) asked(worker, prompt string) int { return r.askers(prompt)[worker] }

func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := processkit.FreeAddress()
	require.NoError(t, err)
	return addr
}
