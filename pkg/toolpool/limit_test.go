package toolpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func limitedTool(l Limit, run func(context.Context, json.RawMessage) (string, error)) Tool {
	t := tool(Inflight, run)
	t.Limit = l
	return t
}

func TestConcurrencyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		p := newPool(t, limitedTool(Limit{Concurrency: 3}, func(context.Context, json.RawMessage) (string, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return "x", nil
		}))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				// The timeout covers the execution only; three quarters of the calls wait longer than that before it.
				r, err := p.Call(t.Context(), Call{Name: "t", Arguments: fmt.Sprintf(`{"n":%d}`, i), Timeout: 1500 * time.Millisecond})
				assert.NoError(t, err)
				assert.False(t, r.Failed, r.Content)
			})
		}
		synctest.Wait()
		assert.Equal(t, 9, p.Stats()["t"].Waiting)
		wg.Wait()
		assert.Equal(t, 3, most)
		assert.Equal(t, 4*time.Second, time.Since(began))
	})
}

func TestNearlyFinishedAgentsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		p := newPool(t, limitedTool(Limit{Concurrency: 1}, func(_ context.Context, args json.RawMessage) (string, error) {
			order = append(order, string(args))
			time.Sleep(time.Second)
			return "x", nil
		}))
		var wg sync.WaitGroup
		start := func(name string, turnsRemaining int) {
			wg.Go(func() {
				_, err := p.Call(t.Context(), Call{Name: "t", Arguments: fmt.Sprintf(`{"n":%q}`, name), TurnsRemaining: turnsRemaining})
				assert.NoError(t, err)
			})
			synctest.Wait()
		}
		start("first", 9)
		start("unknown", 0)
		start("many", 8)
		start("few", 2)
		start("few, later", 2)
		start("raised", 7)
		start("raised", 1) // the same call by an agent that is nearly finished
		wg.Wait()
		assert.Equal(t, []string{`{"n":"first"}`, `{"n":"raised"}`, `{"n":"few"}`, `{"n":"few, later"}`, `{"n":"many"}`, `{"n":"unknown"}`}, order)
	})
}

func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		var mu sync.Mutex
		p := newPool(t, limitedTool(Limit{PerSecond: 10, Burst: 5}, func(context.Context, json.RawMessage) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			starts = append(starts, time.Now())
			return "x", nil
		}))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 45 {
			wg.Go(func() { call(t, p, "t", fmt.Sprintf(`{"n":%d}`, i)) })
		}
		wg.Wait()
		assert.Len(t, starts, 45)
		took := time.Since(began)
		assert.GreaterOrEqual(t, took, 3900*time.Millisecond)
		assert.LessOrEqual(t, took, 5*time.Second)
		synctest.Wait()
		// No caller waits, so no goroutine may remain: the bubble would not end.
	})
}

func TestLeavingCallerFreesItsPlaceInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		p := newPool(t, limitedTool(Limit{PerSecond: 0.1, Burst: 1, Concurrency: 1}, func(context.Context, json.RawMessage) (string, error) {
			runs++
			return "x", nil
		}))
		call(t, p, "t", `{}`)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := p.Call(ctx, Call{Name: "t", Arguments: fmt.Sprintf(`{"n":%d}`, i)})
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		synctest.Wait()
		assert.Zero(t, p.Stats()["t"].Waiting)
		began := time.Now()
		call(t, p, "t", `{"last":1}`)
		assert.LessOrEqual(t, time.Since(began), 11*time.Second)
		assert.Equal(t, 2, runs)
	})
}

func TestTransientFailuresAreRetried(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		runs int
	}{
		{"marked", Transient(errors.New("busy"), 0), 3},
		{"refused", fmt.Errorf("dial: %w", syscall.ECONNREFUSED), 3},
		{"timeout", &net.DNSError{IsTimeout: true}, 3},
		{"other", errors.New("no such city"), 1},
		{"with a wait that the call has no time for", Transient(errors.New("busy"), time.Hour), 1},
		{"503", HTTPStatus(&http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"2"}}}, errors.New("503")), 3},
		{"501", HTTPStatus(&http.Response{StatusCode: 501}, errors.New("501")), 1},
		{"404", HTTPStatus(&http.Response{StatusCode: 404}, errors.New("404")), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			p := newPool(t, tool(Pure, func(context.Context, json.RawMessage) (string, error) { runs++; return "", c.err }))
			r := call(t, p, "t", "")
			assert.True(t, r.Failed)
			assert.Equal(t, "Error: "+c.err.Error(), r.Content)
			assert.Equal(t, c.runs, runs, c.name)
			assert.EqualValues(t, c.runs-1, p.Stats()["t"].Retried)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		p := newPool(t, tool(Pure, func(context.Context, json.RawMessage) (string, error) {
			if runs++; runs == 1 {
				return "", Transient(errors.New("busy"), 3*time.Second)
			}
			return "fine", nil
		}))
		began := time.Now()
		assert.Equal(t, "fine", call(t, p, "t", "").Content)
		assert.Equal(t, 3*time.Second, time.Since(began), "the wait that the service requested")
	})
}

// A date in Retry-After is relative to the service's clock, because a worker's clock may be minutes off. The limit is an hour.
func TestRetryAfterDate(t *testing.T) {
	now := time.Now().UTC()
	for _, c := range []struct {
		at, sent time.Duration // from now
		want     time.Duration
	}{
		{10*time.Minute + 7*time.Second, 10 * time.Minute, 7 * time.Second},
		{-10 * time.Minute, -10*time.Minute - 7*time.Second, 7 * time.Second},
		{-time.Minute, 0, 0},
		{48 * time.Hour, 0, time.Hour},
	} {
		h := http.Header{"Retry-After": {now.Add(c.at).Format(http.TimeFormat)}, "Date": {now.Add(c.sent).Format(http.TimeFormat)}}
		after, yes := isTransient(HTTPStatus(&http.Response{StatusCode: 503, Header: h}, errors.New("503")))
		assert.True(t, yes)
		assert.Equal(t, c.want, after)
	}
}

func TestResultWithChangedKeyIsNotCached(t *testing.T) {
	t.Parallel()
	version, runs := 0, 0
	tl := tool(Pure, func(context.Context, json.RawMessage) (string, error) {
		if runs++; runs == 1 {
			version++ // the file is written while it is read
		}
		return fmt.Sprint(runs), nil
	})
	tl.Key = func(context.Context, json.RawMessage) (string, error) { return fmt.Sprint(version), nil }
	p := newPool(t, tl)
	assert.Equal(t, "1", call(t, p, "t", "").Content)
	version = 0 // a key that was seen before, as after a copy that keeps times
	assert.Equal(t, "2", call(t, p, "t", "").Content)
	assert.Equal(t, "2", call(t, p, "t", "").Content)
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tool      Share
		toolTTL   time.Duration
		share     Share
		ttl       time.Duration
		want      Share
		wantTTL   time.Duration
		wantError bool
	}{
		{Pure, 0, "", 0, Pure, 0, false},
		{Pure, 0, "", time.Second, ForTTL, time.Second, false},
		{Pure, 0, ForTTL, time.Second, ForTTL, time.Second, false},
		{Pure, 0, ForTTL, 0, Pure, 0, true},
		{Pure, 0, Inflight, 0, Inflight, 0, false},
		{Pure, 0, Effect, 0, Effect, 0, false},
		{ForTTL, time.Minute, "", 0, ForTTL, time.Minute, false},
		{ForTTL, time.Minute, ForTTL, 0, ForTTL, time.Minute, false},
		{ForTTL, time.Minute, "", time.Second, ForTTL, time.Second, false},
		{ForTTL, time.Minute, ForTTL, time.Hour, ForTTL, time.Minute, true},
		{ForTTL, time.Minute, Pure, 0, ForTTL, time.Minute, true},
		{Inflight, 0, ForTTL, time.Second, Inflight, 0, true},
		{Inflight, 0, Effect, 0, Effect, 0, false},
		{Effect, 0, Inflight, 0, Effect, 0, true},
		{Effect, 0, "sometimes", 0, Effect, 0, true},
	} {
		share, ttl, err := Narrow(Tool{Name: "t", Share: c.tool, TTL: c.toolTTL}, c.share, c.ttl)
		assert.Equal(t, c.want, share, "%+v", c)
		assert.Equal(t, c.wantTTL, ttl, "%+v", c)
		assert.Equal(t, c.wantError, err != nil, "%+v", c)
	}
}

// Narrowed calls neither read nor provide the results of wider ones.
func TestNarrowedCallsShareAmongThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		p := newPool(t, tool(Pure, func(context.Context, json.RawMessage) (string, error) { runs++; return fmt.Sprint(runs), nil }))
		ask := func(share Share, ttl time.Duration) string {
			r, err := p.Call(t.Context(), Call{Name: "t", Share: share, TTL: ttl})
			require.NoError(t, err)
			return r.Content
		}
		assert.Equal(t, "1", ask("", 0))
		assert.Equal(t, "2", ask(ForTTL, time.Minute))
		assert.Equal(t, "2", ask(ForTTL, time.Minute))
		assert.Equal(t, "3", ask(Inflight, 0))
		time.Sleep(time.Minute)
		assert.Equal(t, "4", ask(ForTTL, time.Minute))
		assert.Equal(t, "1", ask("", 0))
	})
}

func TestCutTokens(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "abc", cutTokens("abc", 0))
	assert.Equal(t, "abc def ghi", cutTokens("abc def ghi", 4))
	text := strings.Repeat("word ", 60) // 300 bytes, about 100 tokens
	assert.Equal(t, text[:60]+"\n[cut: about 80 of 100 tokens are missing, 240 of 300 bytes; ask for a smaller part]", cutTokens(text, 20))
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "text")
		limit := rapid.IntRange(0, 40).Draw(rt, "limit")
		got := cutTokens(text, limit)
		require.True(rt, utf8.ValidString(got) || !utf8.ValidString(text))
		shown, _, isCut := strings.Cut(got, "\n[cut: about ")
		if !isCut {
			require.Equal(rt, text, got)
			return
		}
		require.True(rt, strings.HasPrefix(text, shown))
		require.LessOrEqual(rt, utf8.RuneCountInString(shown), 3*limit)
	})
}

func TestResultIsCutPerCaller(t *testing.T) {
	t.Parallel()
	runs := 0
	tl := tool(Pure, func(context.Context, json.RawMessage) (string, error) {
		runs++
		return strings.Repeat("word ", 600), nil
	})
	tl.MaxTokens = 500
	p := newPool(t, tl)
	for _, c := range []struct{ asked, shown int }{{0, 1500}, {100, 300}, {9000, 1500}} {
		r, err := p.Call(t.Context(), Call{Name: "t", MaxTokens: c.asked})
		require.NoError(t, err)
		shown, _, _ := strings.Cut(r.Content, "\n[cut")
		assert.Len(t, shown, c.shown)
	}
	assert.Equal(t, 1, runs, "the cache holds the whole result")
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{}`, `{"b":1,"a":[1.0,1e3,"\u00e9<&>"]}`, `{"a":{"a":null,"a":true}}`, `{"n":12345678901234567890}`, `{"a":"\ud800"}`, `{"":-0.0}`, "{\"a\":\"\u2028\"}"} {
		f.Add(seed)
	}
	e, err := newEntry(tool(Pure, says("x")), nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, written string) {
		args, problem := e.readArguments(t.Context(), written)
		if problem != "" {
			require.Nil(t, args)
			require.True(t, utf8.ValidString(problem) || !utf8.ValidString(written))
			return
		}
		require.True(t, json.Valid(args))
		again, problem := e.readArguments(t.Context(), string(args))
		require.Empty(t, problem)
		require.Equal(t, string(args), string(again), "canonical text is its own canonical form")
		if strings.TrimSpace(written) == "" {
			return
		}
		// White space and the order of keys may change; the meaning may not.
		var before, after any
		decode := func(text string, to *any) {
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			require.NoError(t, d.Decode(to))
		}
		decode(written, &before)
		decode(string(args), &after)
		require.Equal(t, before, after)
		var spread strings.Builder
		enc := json.NewEncoder(&spread)
		enc.SetIndent(" ", "\t")
		require.NoError(t, enc.Encode(after))
		third, problem := e.readArguments(t.Context(), spread.String())
		require.Empty(t, problem)
		require.Equal(t, string(args), string(third))
	})
}

// bucketOnly is a cluster that supports Take only.
type bucketOnly struct {
	mu    sync.Mutex
	asked int // times
	given int
}

func (*bucketOnly) Join(context.Context, Window) (Joined, error) { return Joined{}, ErrAway }
func (*bucketOnly) Away() bool                                   { return false }

func (b *bucketOnly) Take(_ context.Context, _ Bucket, n int) (Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	b.given += n
	return Grant{Starts: n, Nodes: 1}, nil
}

// A busy tool takes several starts per request, both with many callers at once and with one after the other.
func TestStartsAreTakenInBatches(t *testing.T) {
	for _, atOnce := range []int{1, 50} {
		synctest.Test(t, func(t *testing.T) {
			b := &bucketOnly{}
			p, err := New(Config{Cluster: b})
			require.NoError(t, err)
			require.NoError(t, p.Register(limitedTool(Limit{PerSecond: 2000}, func(context.Context, json.RawMessage) (string, error) {
				time.Sleep(time.Millisecond)
				return "x", nil
			})))
			const calls = 1000
			var wg sync.WaitGroup
			for a := range atOnce {
				wg.Go(func() {
					for i := range calls / atOnce {
						call(t, p, "t", fmt.Sprintf(`{"a":%d,"i":%d}`, a, i))
					}
				})
			}
			wg.Wait()
			assert.Less(t, b.asked, calls/10, "%d callers", atOnce)
			assert.Less(t, b.given, calls*3/2, "unused starts are lost")
		})
	}
}
