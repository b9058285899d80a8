package scheduler

import "math"

// groups learns what a new agent of a batch adds to the cache. Jobs with a common text follow each other, so an agent that opens a
// group adds the text, and those that join it add little.
type groups struct {
	opened, joined tally
	run            int // agents since the last one that opened a group, and that one
}

// tally counts the agents of one kind, and the tokens that they add.
type tally struct {
	started, bytes float64 // agents that have started, and the bytes of their prompts
	counted        float64 // agents whose first call has ended
	tokens         float64 // of their prompts
}

// of returns the tally of agents that share so much of their prompt.
func (g *groups) of(own, common int) *tally {
	if 2*common > own {
		return &g.joined
	}
	return &g.opened
}

// started records a new agent: the size of its prompt, and how much of it others hold, in bytes.
func (g *groups) started(own, common int) {
	t := g.of(own, common)
	if t == &g.opened {
		g.run = 0
	}
	g.run++
	t.started++
	t.bytes += float64(max(own-common, 0))
}

// counted records the same in tokens, as the server reports them.
func (g *groups) counted(own, common int) {
	t := g.of(own, common)
	t.counted++
	t.tokens += float64(max(own-common, 0))
}

// mean returns what an agent adds on average, in tokens. guess is the size of a prompt.
func (c *class) mean(guess float64, of ...tally) float64 {
	var sum tally
	for _, t := range of {
		sum = tally{sum.started + t.started, sum.bytes + t.bytes, sum.counted + t.counted, sum.tokens + t.tokens}
	}
	if sum.started > 0 {
		guess = float64(c.tokens(int(sum.bytes / sum.started)))
	}
	return (belief*guess + sum.tokens) / (belief + sum.counted)
}

// next returns what the agent after n further ones adds. The last group, and those after it, are taken to have the mean size of the
// groups before it.
func (c *class) next(n int) float64 {
	g := &c.groups
	size, before := g.run, g.opened.started-1
	if before > 0 {
		size = int(math.Round((g.opened.started + g.joined.started - float64(g.run)) / before))
	}
	if at := g.run + n - size; g.joined.started == 0 || at >= 0 && at%max(size, 1) == 0 {
		return c.mean(c.guess, g.opened)
	}
	return c.mean(c.guess, g.joined)
}
