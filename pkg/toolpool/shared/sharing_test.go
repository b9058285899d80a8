package shared_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

var clusterScenarios = []scenario{
	{"four processes run a pure call once", func(w *world) { once(w, toolpool.Pure) }},
	{"four processes run a call with a time to live once", func(w *world) { once(w, toolpool.ForTTL) }},
	{"four processes that overlap run an inflight call once", func(w *world) { once(w, toolpool.Inflight) }},
	{"failures reach waiting callers", failures},
	{"long results have their own key", long},
	{"a rate applies to all processes together", rate},
}

var scenarios = append(clusterScenarios, []scenario{
	{"another process reuses a result within its window", reuse},
	{"a result that expires while callers wait", expires},
	{"a caller after the end gets a new execution", afterTheEnd},
	{"another process takes over from a dead leader", death},
	{"a leader is unreachable for longer than its lease", paused},
	{"a leader without callers releases its lead at once", abandoned},
	{"a refusing server stops the sharing only", refuses},
	{"a late renewal does not restore a lead", lateRenewal},
	{"a lost note delays callers by a lease at most", lostNote},
	{"renewals keep a lead for many leases", renewed},
	{"without Redis each process works alone", away},
	{"a short outage does not create a second leader", shortOutage},
	{"an outcome without its body is produced again", bodyGone},
	{"each process produces a result too long to share", tooLong},
	{"without Redis each process gets its part of a rate", rateAlone},
}...)

// once: callers in four processes that overlap share one execution.
func once(w *world, share toolpool.Share) {
	var nodes []*node
	for range 4 {
		nodes = append(nodes, w.with(w.tool(share, 4*w.unit())))
	}
	var waits []func() []toolpool.Result
	for _, n := range nodes {
		waits = append(waits, n.callers(50, `{"a":1}`))
	}
	told, contents := 0, map[string]bool{}
	for _, wait := range waits {
		for _, r := range wait() {
			assert.False(w, r.Failed, r.Content)
			contents[r.Content] = true
			if r.Executed {
				told++
			}
		}
	}
	assert.Equal(w, 1, w.executions())
	assert.Equal(w, 1, told, "exactly one caller is credited with the execution")
	assert.Len(w, contents, 1)
	var all toolpool.Stats
	for _, n := range nodes {
		s := n.stats()
		all.Asked += s.Asked
		all.Executed += s.Executed
		all.SharedProcess += s.SharedProcess
		all.SharedCluster += s.SharedCluster
		all.Cached += s.Cached
	}
	assert.Equal(w, int64(200), all.Asked)
	assert.Equal(w, all.Asked, all.Executed+all.SharedProcess+all.SharedCluster+all.Cached, "%+v", all)
	assert.LessOrEqual(w, all.SharedCluster+all.Cached, int64(3), "one flight per process")
}

// failures: a failure reaches the waiting callers and no others.
func failures(w *world) {
	var bad atomic.Bool
	bad.Store(true)
	failing := func(name *string) toolpool.Tool {
		t := w.tool(toolpool.Pure, 4*w.unit())(name)
		run := t.Run
		t.Run = func(ctx context.Context, args json.RawMessage) (string, error) {
			text, err := run(ctx, args)
			if bad.Load() {
				return "", errors.New("no such city")
			}
			return text, err
		}
		return t
	}
	a, b := w.with(failing), w.with(failing)
	first := a.callers(5, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the first execution")
	second := b.callers(5, `{}`)
	for _, r := range append(first(), second()...) {
		assert.Equal(w, "Error: no such city", r.Content)
		assert.True(w, r.Failed)
	}
	assert.Equal(w, 1, w.executions())
	assert.EqualValues(w, 5, b.stats().Failed)
	bad.Store(false)
	assert.False(w, b.call(`{}`).Failed, "a failure is not cached")
	assert.Equal(w, 2, w.executions())
}

// noise is text that does not compress well.
func noise(n int) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for b.Len() < n {
		b.WriteByte(byte('!' + r.IntN(90)))
	}
	return b.String()
}

func saying(w *world, text string, share toolpool.Share) func(*string) toolpool.Tool {
	return func(name *string) toolpool.Tool {
		t := w.tool(share, 2*w.unit())(name)
		run := t.Run
		t.MaxBytes = 64 << 20
		t.Run = func(ctx context.Context, args json.RawMessage) (string, error) {
			_, err := run(ctx, args)
			return text, err
		}
		return t
	}
}

func long(w *world) {
	for _, text := range []string{strings.Repeat("easy to compress ", 5000), noise(300_000)} {
		before := w.executions()
		a, b := w.with(saying(w, text, toolpool.Pure)), w.with(saying(w, text, toolpool.Pure))
		arg := `{"n":` + map[bool]string{true: "1", false: "2"}[before == 0] + `}`
		wait := a.callers(2, arg)
		assert.Equal(w, text, b.call(arg).Content)
		assert.Equal(w, text, wait()[0].Content)
		assert.Equal(w, text, w.with(saying(w, text, toolpool.Pure)).call(arg).Content, "from Redis")
		assert.Equal(w, before+1, w.executions())
	}
}

func bodyGone(w *world) {
	text := noise(200_000)
	a, b := w.with(saying(w, text, toolpool.Pure)), w.with(saying(w, text, toolpool.Pure))
	a.call(`{}`)
	keys, err := w.raw.Keys(w.Context(), "ba:tool:*:blob:*").Result()
	require.NoError(w, err)
	require.Len(w, keys, 1)
	require.NoError(w, w.raw.Del(w.Context(), keys[0]).Err())
	assert.Equal(w, text, b.call(`{}`).Content)
	assert.Equal(w, 2, w.executions())
}

func tooLong(w *world) {
	text := noise(12 << 20)
	a, b := w.with(saying(w, text, toolpool.Pure)), w.with(saying(w, text, toolpool.Pure))
	assert.Len(w, a.call(`{}`).Content, len(text))
	assert.Len(w, b.call(`{}`).Content, len(text))
	assert.Equal(w, 2, w.executions())
	assert.EqualValues(w, 1, b.stats().Unshared)
}

func reuse(w *world) {
	a, b := w.with(w.tool(toolpool.ForTTL, w.unit())), w.with(w.tool(toolpool.ForTTL, w.unit()))
	first := a.call(`{}`)
	w.pass(2 * w.lease)
	assert.Equal(w, first.Content, b.call(`{}`).Content)
	assert.EqualValues(w, 1, b.stats().Cached)
	w.pass(2*w.lease + w.unit()) // b keeps a result until the execution is this old
	assert.NotEqual(w, first.Content, b.call(`{}`).Content)
	assert.Equal(w, 2, w.executions())
}

func expires(w *world) {
	brief := func(name *string) toolpool.Tool {
		t := w.tool(toolpool.ForTTL, 4*w.unit())(name)
		t.TTL = time.Millisecond
		return t
	}
	a, b := w.with(brief), w.with(brief)
	wait := a.callers(3, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the execution")
	other := b.callers(3, `{}`)
	w.pass(w.unit())
	b.cable.Cut() // b comes for the result long after it has expired
	results := wait()
	w.pass(2 * w.unit())
	b.cable.Mend()
	for _, r := range append(results, other()...) {
		assert.Equal(w, results[0].Content, r.Content)
	}
	assert.Equal(w, 1, w.executions())
}

// afterTheEnd: a caller that comes after the end does not get the old result, even if the leader could not publish the end yet.
func afterTheEnd(w *world) {
	a, b := w.with(w.tool(toolpool.Inflight, 2*w.unit())), w.with(w.tool(toolpool.Inflight, 2*w.unit()))
	first := a.callers(1, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the execution")
	a.cable.Cut()
	old := first()[0].Content
	w.pass(w.unit())
	late := b.callers(1, `{}`)
	w.pass(w.unit())
	a.cable.Mend()
	assert.NotEqual(w, old, late()[0].Content)
	assert.NotEqual(w, old, a.call(`{}`).Content)
}

func death(w *world) {
	a, b, c := w.with(w.tool(toolpool.Pure, 10*w.unit())), w.with(w.tool(toolpool.Pure, 10*w.unit())), w.with(w.tool(toolpool.Pure, 10*w.unit()))
	go a.call(`{}`)
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	waits := []func() []toolpool.Result{b.callers(20, `{}`), c.callers(20, `{}`)}
	w.pass(w.unit())
	a.cable.Cut() // and never reconnect
	began := time.Now()
	contents := map[string]bool{}
	for _, wait := range waits {
		for _, r := range wait() {
			assert.False(w, r.Failed, r.Content)
			contents[r.Content] = true
		}
	}
	assert.Len(w, contents, 1)
	assert.Equal(w, 2, w.executions(), "one by the dead leader, one by its successor")
	if w.fake {
		assert.Less(w, time.Since(began), 2*w.lease)
	}
}

// paused: a leader that cannot reach Redis for longer than its lease serves its own callers. Its later outcome is
// refused, because another process has led.
func paused(w *world) {
	slow, quick := w.with(w.tool(toolpool.ForTTL, 50*w.unit())), w.with(w.tool(toolpool.ForTTL, 2*w.unit()))
	first := slow.callers(1, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	slow.cable.Cut()
	second := quick.call(`{}`)
	assert.Contains(w, second.Content, quick.name)
	w.pass(w.unit())
	slow.cable.Mend()
	assert.Contains(w, first()[0].Content, slow.name)
	w.pass(2 * w.lease)
	third := w.with(w.tool(toolpool.ForTTL, w.unit()))
	assert.Equal(w, second.Content, third.call(`{}`).Content, "the value is the last leader's")
	assert.Equal(w, 2, w.executions())
}

func abandoned(w *world) {
	a, b := w.with(w.tool(toolpool.Pure, 10*w.unit())), w.with(w.tool(toolpool.Pure, 10*w.unit()))
	ctx, cancel := context.WithCancel(w.Context())
	var left sync.WaitGroup
	left.Go(func() {
		_, err := a.pool.Call(ctx, toolpool.Call{Name: "t"})
		assert.ErrorIs(w, err, context.Canceled)
	})
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	wait := b.callers(3, `{}`)
	w.pass(w.unit())
	cancel()
	left.Wait()
	began := time.Now()
	assert.Contains(w, wait()[0].Content, b.name)
	if w.fake {
		assert.Equal(w, 10*w.unit(), time.Since(began).Round(time.Millisecond), "the execution began at once")
	}
}

// refuses: a server without memory still answers reads, so it does not count as unreachable.
func refuses(w *world) {
	for _, refused := range []string{"join", "finish"} {
		w.script = func(name, text string) string {
			if name == refused {
				return "return redis.error_reply('OOM command not allowed')"
			}
			return text
		}
		before := w.executions()
		a, b := w.with(w.tool(toolpool.Pure, w.unit())), w.with(w.tool(toolpool.Pure, w.unit()))
		began := time.Now()
		arg := `{"refused":"` + refused + `"}`
		assert.False(w, a.call(arg).Failed)
		assert.False(w, b.call(arg).Failed)
		assert.Equal(w, before+2, w.executions())
		if w.fake {
			assert.LessOrEqual(w, time.Since(began), 2*w.lease)
		}
	}
}

// lateRenewal: a renewal arrives after its call has ended.
func lateRenewal(w *world) {
	w.with(w.tool(toolpool.Inflight, w.unit())).call(`{}`)
	keys, err := w.raw.Keys(w.Context(), "ba:tool:*:wait").Result()
	require.NoError(w, err)
	require.Len(w, keys, 1)
	token, err := w.raw.HGet(w.Context(), keys[0], "").Result()
	require.NoError(w, err)
	script, err := os.ReadFile("lua/renew.lua")
	require.NoError(w, err)
	lead := strings.TrimSuffix(keys[0], "wait") + "lead"
	code, err := w.raw.Eval(w.Context(), string(script), []string{lead, strings.TrimSuffix(keys[0], "wait") + "value", keys[0]}, token, 1000).Int()
	require.NoError(w, err)
	assert.Equal(w, -1, code)
	assert.Zero(w, w.raw.Exists(w.Context(), lead).Val())
}

func lostNote(w *world) {
	a, b := w.with(w.tool(toolpool.Pure, 4*w.unit())), w.with(w.tool(toolpool.Pure, 4*w.unit()))
	wait := a.callers(1, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	other := b.callers(1, `{}`)
	w.pass(w.unit())
	require.NoError(w, w.raw.Del(w.Context(), "ba:inbox:{"+b.name+"}").Err())
	assert.Equal(w, wait()[0].Content, other()[0].Content)
	assert.Equal(w, 1, w.executions())
}

func renewed(w *world) {
	a, b := w.with(w.tool(toolpool.Inflight, 4*w.lease)), w.with(w.tool(toolpool.Inflight, 4*w.lease))
	wait := a.callers(1, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	assert.Equal(w, b.call(`{}`).Content, wait()[0].Content)
	assert.Equal(w, 1, w.executions())
}

func away(w *world) {
	a, b := w.with(w.tool(toolpool.Pure, w.unit())), w.with(w.tool(toolpool.Pure, w.unit()))
	a.cable.Cut()
	w.until(a.pool.Away, "the outage to be noticed")
	assert.False(w, b.pool.Away())
	results := a.callers(30, `{}`)()
	assert.Equal(w, 1, w.executions(), "the process shares its own calls")
	assert.EqualValues(w, 1, a.stats().Unshared)
	assert.False(w, results[0].Failed)
	a.cable.Mend()
	w.until(func() bool { return !a.pool.Away() }, "Redis to be back")
	w.pass(w.lease)
	b.call(`{"n":2}`)
	a.call(`{"n":2}`)
	assert.Equal(w, 2, w.executions(), "shared again")
}

func shortOutage(w *world) {
	// Longer than half a lease, as the grace requires. A client needs up to a second more to find its server again.
	// The sum must stay well below one lease, after which each process works alone.
	w.lease = max(w.lease, 6*time.Second)
	outage := w.lease * 11 / 20
	a, b := w.with(w.tool(toolpool.Pure, w.lease*5/4)), w.with(w.tool(toolpool.Pure, w.lease*5/4))
	wait := a.callers(1, `{}`)
	w.until(func() bool { return w.executions() == 1 }, "the leader")
	other := b.callers(3, `{}`)
	w.pass(w.unit())
	for _, n := range []*node{a, b} {
		n.cable.Cut()
	}
	// The lead expires, as it does when Redis is stopped for most of a lease and restarted.
	keys, err := w.raw.Keys(w.Context(), "ba:tool:*:lead").Result()
	require.NoError(w, err)
	require.Len(w, keys, 1)
	require.NoError(w, w.raw.Del(w.Context(), keys[0]).Err())
	w.pass(outage)
	for _, n := range []*node{b, a} {
		n.cable.Mend()
	}
	assert.Equal(w, wait()[0].Content, other()[0].Content)
	assert.Equal(w, 1, w.executions())
}

func limited(w *world, l toolpool.Limit) func(*string) toolpool.Tool {
	return func(name *string) toolpool.Tool {
		t := w.tool(toolpool.Inflight, 0)(name)
		t.Limit = l
		return t
	}
}

// rate: three processes together start no more than one bucket allows.
func rate(w *world) {
	perSecond := 100 / w.lease.Seconds() // 100 per lease
	const burst, calls = 5, 60
	var waits []func() []toolpool.Result
	began := time.Now()
	for i := range 3 {
		n := w.with(limited(w, toolpool.Limit{PerSecond: perSecond, Burst: burst}))
		for k := range calls / 3 {
			waits = append(waits, n.callers(1, `{"n":`+strings.Repeat("1", 1+i)+strings.Repeat("0", k)+`}`))
		}
	}
	for _, wait := range waits {
		assert.False(w, wait()[0].Failed)
	}
	took := time.Since(began)
	assert.Equal(w, calls, w.executions())
	assert.GreaterOrEqual(w, took.Seconds(), float64(calls-burst-1)/perSecond, "faster than the rate")
	if w.fake {
		assert.LessOrEqual(w, took.Seconds(), 1.5*calls/perSecond, "much slower than the rate")
	}
}

// rateAlone: without Redis each of two processes gets half the rate.
func rateAlone(w *world) {
	perSecond := 100 / w.lease.Seconds()
	a, b := w.with(limited(w, toolpool.Limit{PerSecond: perSecond, Burst: 1})), w.with(limited(w, toolpool.Limit{PerSecond: perSecond, Burst: 1}))
	a.call(`{}`)
	b.call(`{}`)
	a.call(`{"n":0}`) // a now has a grant that counts b
	a.cable.Cut()
	w.until(a.pool.Away, "the outage to be noticed")
	began := time.Now()
	const calls = 20
	var waits []func() []toolpool.Result
	for k := range calls {
		waits = append(waits, a.callers(1, `{"n":1`+strings.Repeat("0", k)+`}`))
	}
	for _, wait := range waits {
		wait()
	}
	assert.GreaterOrEqual(w, time.Since(began).Seconds(), (calls-2)/(perSecond/2))
}
