package main

import (
	"container/heap"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// policy decides which agents live. Its methods are called after every event.
type policy interface {
	// admit returns how many more agents may start now. waiting is the number of agents that have not started.
	admit(w *world, waiting int) int
	// mayCall reports whether an agent may make its next call. Otherwise it pauses at this turn boundary. A worker asks before the first
	// call, too.
	mayCall(w *world, a *agent) bool
	// resume returns the paused agents that may continue.
	resume(w *world) []*agent
	// began is called when an answer begins.
	began(w *world)
	// ended is called when a model call ends.
	ended(w *world, a *agent, prompt, cached, output int)
	// acting is called when an agent begins to wait for a tool.
	acting(w *world, a *agent, tool time.Duration)
	// left is called when an agent has finished.
	left(w *world, a *agent)
}

// shaper changes the engine's requests of a policy's agents. A policy needs not be one.
type shaper interface {
	shape(w *world, a *agent, r *batching.Request)
}

// canceller ends agents that live, and lets them start again from their beginning. A policy needs not be one.
type canceller interface {
	cancel(w *world) []*agent
}

// agent is one agent in the world.
type agent struct {
	index   int
	script  script
	turn    int // of the next call
	context int // own tokens so far
	seq     *batching.Sequence
	asked   time.Duration      // time of its current call
	first   bool               // its first token was generated
	ttft    time.Duration      // of its last call
	last    *batching.Sequence // of its previous call
	life    int                // how often it was cancelled
	paused  bool
	acting  bool // it waits for a tool
	live    bool
}

// world simulates a workload on an engine as events in virtual time.
type world struct {
	now      time.Duration
	engine   *batching.Engine
	profile  batching.Profile
	load     workload
	policy   policy
	events   events
	serial   int
	stepping bool
	calls    map[*batching.Sequence]*agent

	waiting []*agent // not started
	live    []*agent

	ttftFirst, ttftLater []time.Duration
	prompt, cached       int
	guests               int // tokens that the other client's prompts had
}

// shared returns the tokens in front of an agent's own.
func (w *world) shared(a *agent) int { return w.load.prefix + w.load.document(a.script) }

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

// play runs the workload to its end.
func play(load workload, p batching.Profile, pol policy) (*world, error) {
	e, err := batching.New(p)
	if err != nil {
		return nil, err
	}
	w := &world{engine: e, profile: p, load: load, policy: pol, calls: map[*batching.Sequence]*agent{}}
	for i, s := range load.agents {
		w.waiting = append(w.waiting, &agent{index: i, script: s})
	}
	if load.guest != nil {
		w.after(load.guest.first, func() { w.visit(true) })
	}
	w.decide()
	for len(w.waiting)+len(w.live) > 0 {
		ev := heap.Pop(&w.events).(event) //nolint:forcetypeassert // the heap holds nothing else
		w.now = ev.at
		ev.do()
		w.decide()
		w.step()
	}
	return w, nil
}

// decide starts and resumes the agents that the policy admits.
func (w *world) decide() {
	if c, ok := w.policy.(canceller); ok {
		for _, a := range c.cancel(w) {
			w.restart(a)
		}
	}
	for _, a := range w.policy.resume(w) {
		a.paused = false
		w.call(a)
	}
	for n := min(w.policy.admit(w, len(w.waiting)), len(w.waiting)); n > 0; n-- {
		a := w.waiting[0]
		w.waiting = w.waiting[1:]
		a.live = true
		w.live = append(w.live, a)
		if a.paused = !w.policy.mayCall(w, a); !a.paused {
			w.call(a)
		}
	}
}

// call makes an agent's next model call.
func (w *world) call(a *agent) {
	t := a.script.turns[a.turn]
	a.context += t.fresh
	a.asked, a.first, a.acting = w.now, false, false
	life := a.life
	w.after(w.profile.Overhead, func() {
		if a.life != life {
			return
		}
		prompt := w.shared(a) + a.context
		r := batching.Request{
			PromptTokens: prompt, OutputTokens: t.output,
			Blocks: w.load.blockHashes(a, prompt+t.output, w.profile.BlockSize),
		}
		if s, ok := w.policy.(shaper); ok {
			s.shape(w, a, &r)
		}
		a.seq = w.engine.Add(r)
		w.calls[a.seq] = a
	})
}

// restart cancels a live agent. It starts again later, before the agents that never started.
func (w *world) restart(a *agent) {
	if a.seq != nil {
		w.engine.Abort(a.seq)
		delete(w.calls, a.seq)
	}
	w.engine.Drop(a.last)
	w.live = slices.DeleteFunc(w.live, func(b *agent) bool { return a == b })
	*a = agent{index: a.index, script: a.script, life: a.life + 1}
	w.waiting = slices.Insert(w.waiting, 0, a)
}

// step begins a step of the engine if it has work and no step is in progress.
func (w *world) step() {
	if w.stepping || w.engine.Idle() {
		return
	}
	w.stepping = true
	st := w.engine.Begin()
	w.after(st.Duration, func() {
		w.stepping = false
		for _, s := range w.engine.End(st) {
			if a := w.calls[s]; a != nil {
				w.token(a, s)
			} else if s.Done {
				w.visit(false)
			}
		}
	})
}

func (w *world) token(a *agent, s *batching.Sequence) {
	if !a.first {
		a.first = true
		w.policy.began(w)
		a.ttft = w.now - a.asked
		if a.turn == 0 {
			w.ttftFirst = append(w.ttftFirst, a.ttft)
		} else {
			w.ttftLater = append(w.ttftLater, a.ttft)
		}
	}
	if !s.Done {
		return
	}
	delete(w.calls, s)
	t := a.script.turns[a.turn]
	w.prompt += s.PromptTokens
	w.cached += s.Cached
	a.context += t.output
	a.turn++
	a.seq, a.last = nil, s
	w.policy.ended(w, a, s.PromptTokens, s.Cached, t.output)
	if a.turn == len(a.script.turns) {
		a.live = false
		w.live = slices.DeleteFunc(w.live, func(b *agent) bool { return a == b })
		w.policy.left(w, a)
		return
	}
	a.acting = true
	w.policy.acting(w, a, t.tool)
	life := a.life
	w.after(t.tool, func() {
		if a.life == life && a.live && a.acting && !a.paused {
			if w.policy.mayCall(w, a) {
				w.call(a)
			} else {
				a.paused = true
			}
		}
	})
}

// blockHashes returns the hashes of a conversation's full blocks. Blocks of the prefix are equal for all agents, and blocks of a shared
// text for all agents that have the same texts so far.
func (w workload) blockHashes(a *agent, total, size int) []uint64 {
	out := make([]uint64, total/size)
	text, ends := 0, w.prefix
	for i := range out {
		end := (i + 1) * size
		for text <= len(a.script.texts) && end > ends {
			if text++; text <= len(a.script.texts) {
				ends += w.texts[a.script.texts[text-1]]
			}
		}
		out[i] = uint64(i) + 1
		switch {
		case text > len(a.script.texts):
			out[i] += uint64(a.index+1) << 24
		case text > 0:
			out[i] += uint64(a.script.texts[text-1]+1) << 48
		}
	}
	return out
}
