package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
)

// faulty is a server that fails calls as fault decides. A failing call takes 10 ms.
type faulty struct {
	*server
	began time.Time
	fault func(at time.Duration, r *backend.Request) error // nil answers

	mu       sync.Mutex
	calls    int             // guarded by mu
	answered []time.Duration // guarded by mu
}

func (f *faulty) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	if err := f.fault(time.Since(f.began), r); err != nil {
		_ = sleep.For(ctx, 10*time.Millisecond)
		return nil, err
	}
	resp, err := f.server.Generate(ctx, r, o)
	if err == nil {
		f.mu.Lock()
		f.answered = append(f.answered, time.Since(f.began))
		f.mu.Unlock()
	}
	return resp, err
}

func (f *faulty) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// firstAfter returns when the first call was answered at or after t.
func (f *faulty) firstAfter(t time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.answered)
	i, _ := slices.BinarySearch(f.answered, t)
	if i == len(f.answered) {
		return 0
	}
	return f.answered[i]
}

func refusal(class backend.Class, status int, message string) *backend.Error {
	return &backend.Error{Class: class, Endpoint: "test://server", Status: status, Message: message}
}

// outageKinds are failures that real servers and gateways returned during outages.
var outageKinds = map[string]*backend.Error{
	"401":             refusal(backend.Auth, 401, "Incorrect API key provided"),
	"402":             refusal(backend.QuotaExhausted, 402, "Insufficient credits"),
	"403":             refusal(backend.Auth, 403, "forbidden"),
	"404 page":        refusal(backend.Transient, 404, "a page for people"),
	"404 model":       refusal(backend.UnknownModel, 404, "The model does not exist"),
	"404 route":       refusal(backend.InvalidRequest, 404, "no such route"),
	"400":             refusal(backend.InvalidRequest, 400, "Provider returned error"),
	"413":             refusal(backend.InvalidRequest, 413, "too large"),
	"200 page":        refusal(backend.Transient, 200, "a page for people"),
	"500":             refusal(backend.Transient, 500, "Connection error."),
	"503":             refusal(backend.Overloaded, 503, "upstream connect error"),
	"429":             refusal(backend.RateLimited, 429, "Rate limit exceeded"),
	"no answer":       {Class: backend.Transient, Err: fmt.Errorf("connection refused")},
	"hint":            {Class: backend.Overloaded, Status: 503, Message: "wait", RetryAfter: 2 * time.Second},
	"cut connections": {Class: backend.Transient, Status: 200, Message: "the stream was cut"},
}

func TestOutageDelaysBatch(t *testing.T) {
	for name, kind := range outageKinds {
		if testing.Short() && name != "402" && name != "429" {
			continue
		}
		lengths := []time.Duration{40 * time.Second}
		if name == "402" {
			lengths = []time.Duration{time.Second, 6 * time.Second, 40 * time.Second, 3 * time.Minute}
		}
		for _, length := range lengths {
			t.Run(fmt.Sprint(name, " for ", length), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 300*time.Millisecond)
					const from = 3 * time.Second
					f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
						if at >= from && at < from+length {
							return kind
						}
						return nil
					}}
					const jobs = 400
					id := w.submit(jobs, func(c *spec.Compiled) { c.MaxRetries, c.MaxAttempts, c.Timeouts.Job = 0, 1, 5*time.Second })
					node := w.start("node-1", func(c *Config) { c.Backend = f })
					info := w.await(id, 10*time.Minute)
					node.end()
					assert.EqualValues(t, jobs, info.Counts.OK, "%+v", info.Counts)
					assert.LessOrEqual(t, f.count(), 2*jobs*105/100+int(length/(10*time.Second)), "calls")
					if kind.Class == backend.RateLimited {
						return // the end of a rate limit cannot be predicted
					}
					assert.Less(t, f.firstAfter(from+length)-from-length, max(5*time.Second, length/10+time.Second), "recovery")
				})
			})
		}
	}
}

func TestBadRequestsFailOnlyTheirJobs(t *testing.T) {
	for name, kind := range map[string]*backend.Error{
		"400": refusal(backend.InvalidRequest, 400, "content policy"),
		"403": refusal(backend.Auth, 403, "your input was flagged"),
		"402": refusal(backend.QuotaExhausted, 402, "needs more credits or fewer max_tokens"),
		"500": refusal(backend.Transient, 500, "internal error"),
	} {
		t.Run(name, func(t *testing.T) {
			clean, _ := poisoned(t, nil)
			took, results := poisoned(t, kind)
			for i, r := range results {
				if i%20 != 7 {
					assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
					continue
				}
				if assert.Equal(t, batch.StatusFailed, r.Status, "job %d", i) {
					assert.Contains(t, r.Error.Message, kind.Message)
					assert.Equal(t, r.Error.Type == batch.BackendRejected, r.Error.RequestAtFault)
				}
			}
			assert.Less(t, took, clean+clean/4+15*time.Second)
		})
	}
}

// poisoned runs a batch with one job in twenty that is always refused.
func poisoned(t *testing.T, kind *backend.Error) (took time.Duration, results map[int64]batch.Result) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		f := &faulty{server: w.server, began: time.Now(), fault: func(_ time.Duration, r *backend.Request) error {
			var i int
			if len(r.Messages) > 1 {
				_, _ = fmt.Sscanf(r.Messages[1].Content, "p%d", &i)
			}
			if kind != nil && i%20 == 7 {
				return kind
			}
			return nil
		}}
		const jobs = 400
		id := w.submit(jobs, nil)
		node := w.start("node-1", func(c *Config) { c.Backend = f })
		w.await(id, time.Hour)
		took = time.Since(f.began)
		node.end()
		results = w.results(id, jobs)
	})
	return took, results
}

func TestBatchOfBadRequestsEnds(t *testing.T) {
	for _, class := range []backend.Class{backend.InvalidRequest, backend.Transient} {
		for _, jobs := range []int{1, 3, 40} {
			t.Run(fmt.Sprint(class, jobs), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 300*time.Millisecond)
					f := &faulty{server: w.server, began: time.Now(), fault: func(_ time.Duration, r *backend.Request) error {
						if r.Hints.Session == "control" {
							return nil
						}
						return refusal(class, 400, "temperature is not supported")
					}}
					id := w.submit(jobs, nil)
					node := w.start("node-1", func(c *Config) { c.Backend = f })
					info := w.await(id, 10*time.Minute)
					node.end()
					assert.EqualValues(t, jobs, info.Counts.Failed)
					assert.Less(t, f.count(), 20*jobs+20)
				})
			})
		}
	}
}

func TestPartialOutageFailsNoJob(t *testing.T) {
	for _, name := range []string{"400", "402", "429", "500", "503"} {
		kind := outageKinds[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 300*time.Millisecond)
				random := rand.New(rand.NewPCG(1, 2))
				var mu sync.Mutex
				f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
					mu.Lock()
					defer mu.Unlock()
					if at > 2*time.Second && at < 20*time.Second && random.Float64() < 0.3 {
						return kind
					}
					return nil
				}}
				const jobs = 400
				id := w.submit(jobs, nil)
				node := w.start("node-1", func(c *Config) { c.Backend = f; c.Slots = 16 })
				info := w.await(id, 10*time.Minute)
				node.end()
				assert.EqualValues(t, jobs, info.Counts.OK, "%+v", info.Counts)
			})
		})
	}
}

func TestOutageOfOneModelSparesOtherModels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		f := &twoModels{faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, r *backend.Request) error {
			if r.Model == "other" && at < time.Minute {
				return refusal(backend.UnknownModel, 404, "The model `other` does not exist")
			}
			return nil
		}}}
		broken := w.submit(50, func(c *spec.Compiled) { c.Model = "other" })
		fine := w.submit(200, func(c *spec.Compiled) { c.Model = "m" })
		node := w.start("node-1", func(c *Config) { c.Backend = f })
		info := w.await(fine, 50*time.Second)
		assert.EqualValues(t, 200, info.Counts.OK)
		assert.True(t, node.Ready())
		pauses := node.Pauses()
		require.Len(t, pauses, 1)
		assert.Equal(t, "other", pauses[0].Model)
		assert.Equal(t, "server answers 404 \"The model `other` does not exist\"", pauses[0].Reason)
		assert.EqualValues(t, 50, w.await(broken, 5*time.Minute).Counts.OK)
		node.end()
	})
}

type twoModels struct{ faulty }

func (*twoModels) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "m", MaxModelLen: 4096}, {ID: "other", MaxModelLen: 4096}}, nil
}

func TestHealthyWorkerFinishesBatchDuringOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		sick := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
			if at > 2*time.Second {
				return refusal(backend.QuotaExhausted, 402, "Insufficient credits")
			}
			return nil
		}}
		const jobs = 300
		id := w.submit(jobs, nil)
		a := w.start("sick", func(c *Config) { c.Backend = sick })
		b := w.start("healthy", nil)
		info := w.await(id, 2*time.Minute)
		a.end()
		b.end()
		assert.EqualValues(t, jobs, info.Counts.OK)
		for _, r := range w.results(id, jobs) {
			assert.Equal(t, 1, r.Attempts)
		}
	})
}

func TestLongOutageSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
			if at > 2*time.Second && at < time.Hour {
				return refusal(backend.Overloaded, 503, "upstream connect error")
			}
			return nil
		}}
		const jobs = 100
		id := w.submit(jobs, func(c *spec.Compiled) { c.MaxAttempts, c.Timeouts.Job = 1, time.Minute })
		node := w.start("node-1", func(c *Config) { c.Backend = f })
		info := w.await(id, 2*time.Hour)
		node.end()
		assert.EqualValues(t, jobs, info.Counts.OK)
		assert.Less(t, f.firstAfter(time.Hour)-time.Hour, 65*time.Second)
		assert.Less(t, f.count(), 2*jobs+250, "calls")
	})
}

func TestMisconfiguredServerMakesTheWorkerUnready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		f := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
			if at < time.Minute {
				return refusal(backend.Auth, 401, "Incorrect API key provided")
			}
			return nil
		}}
		id := w.submit(20, nil)
		registry := prometheus.NewRegistry()
		node := w.start("node-1", func(c *Config) { c.Backend, c.Metrics = f, registry })
		time.Sleep(30 * time.Second)
		rec := httptest.NewRecorder()
		node.Handler(registry).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
		assert.Contains(t, rec.Body.String(), `server answers 401 "Incorrect API key provided"`)
		workers, err := w.store.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, workers, 1)
		require.Len(t, workers[0].Pauses, 1)
		assert.True(t, workers[0].Pauses[0].Misconfigured)
		rec = httptest.NewRecorder()
		node.Handler(registry).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		assert.Contains(t, rec.Body.String(), `batchagent_backend_paused{model="m",reason="auth"} 1`)
		assert.EqualValues(t, 20, w.await(id, 5*time.Minute).Counts.OK, "the key was fixed at the server")
		node.end()
	})
}

// renamed is a server that changes the name of its model.
type renamed struct {
	*server
	began time.Time
	at    time.Duration
	back  time.Duration // when it gets its first name back; 0: never
}

func (s *renamed) name() string {
	if at := time.Since(s.began); at >= s.at && (s.back == 0 || at < s.back) {
		return "two"
	}
	return "one"
}

func (s *renamed) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: s.name(), MaxModelLen: 4096}}, nil
}

func (s *renamed) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	if r.Model != s.name() {
		return nil, refusal(backend.UnknownModel, 404, "The model does not exist")
	}
	resp, err := s.server.Generate(ctx, r, o)
	if err == nil {
		resp.Model = r.Model
	}
	return resp, err
}

func TestBatchStaysWithItsModel(t *testing.T) {
	for name, test := range map[string]struct {
		anyModel bool
		second   bool // a worker that has the first model
		back     time.Duration
		want     map[string]bool
	}{
		"another worker has it": {second: true, want: map[string]bool{"one": true}},
		"the server returns":    {back: 2 * time.Minute, want: map[string]bool{"one": true}},
		"any model may do":      {anyModel: true, want: map[string]bool{"one": true, "two": true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 300*time.Millisecond)
				const jobs = 300
				id := w.submit(jobs, func(c *spec.Compiled) { c.AnyModel = test.anyModel })
				a := w.start("renamed", func(c *Config) { c.Backend = &renamed{w.server, time.Now(), 5 * time.Second, test.back} })
				workers := []*running{a}
				time.Sleep(30 * time.Second)
				if !test.anyModel {
					info, err := w.store.Info(t.Context(), id)
					require.NoError(t, err)
					assert.Equal(t, "one", info.Bound)
					assert.Equal(t, []string{"one"}, info.Models)
					require.NotEmpty(t, a.Pauses())
					assert.Equal(t, `server serves two, and the batch uses the model "one"`, a.Pauses()[0].Reason)
				}
				if test.second {
					workers = append(workers, w.start("other", func(c *Config) { c.Backend = &renamed{w.server, time.Now(), time.Hour, 0} }))
				}
				info := w.await(id, 10*time.Minute)
				for _, r := range workers {
					r.end()
				}
				assert.EqualValues(t, jobs, info.Counts.OK, "%+v", info.Counts)
				models := map[string]bool{}
				for _, r := range w.results(id, jobs) {
					models[r.Model] = true
					assert.Equal(t, 1, r.Attempts)
				}
				assert.Equal(t, test.want, models)
			})
		})
	}
}

func TestConcurrentFirstAnswersBindOneModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		const jobs = 200
		id := w.submit(jobs, nil)
		one := w.start("one", func(c *Config) { c.Backend = &renamed{w.server, time.Now(), time.Hour, 0} })
		two := w.start("two", func(c *Config) { c.Backend = &renamed{w.server, time.Now(), 0, 0} })
		info := w.await(id, 10*time.Minute)
		one.end()
		two.end()
		assert.EqualValues(t, jobs, info.Counts.OK)
		for _, r := range w.results(id, jobs) {
			assert.Equal(t, info.Bound, r.Model)
		}
	})
}
