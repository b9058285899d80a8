package main

import (
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// guest is another client of the server. It comes, keeps a part of the cache in use with requests of its own, and goes.
type guest struct {
	first, stay, away time.Duration
	prompt, output    int // tokens of its requests; nothing of them can be reused
	tokens            int // that its requests hold together, on average
}

// visit is called when the guest comes, and when one of its requests ends.
func (w *world) visit(comes bool) {
	g := w.load.guest
	in := (w.now-g.first)%(g.stay+g.away) < g.stay
	switch {
	case comes:
		w.after(g.stay+g.away, func() { w.visit(true) })
		for range max(1, g.tokens/(g.prompt+g.output/2)) {
			w.ask(g)
		}
	case in:
		w.ask(g)
	}
}

// ask makes a request of the guest.
func (w *world) ask(g *guest) {
	w.guests += g.prompt
	w.engine.Add(batching.Request{PromptTokens: g.prompt, OutputTokens: g.output})
}
