package scheduler

import "slices"

// Footprint is the part of a server's KV cache that one live agent holds.
type Footprint struct {
	Own   int // tokens of its conversation after the prefix that all agents of its batch share
	Turns int // model calls that have ended
}

// Growth is the average growth of a batch's agents.
type Growth struct {
	Start   float64 // own tokens of a new agent: its first prompt
	Output  float64 // tokens that a model call writes
	PerTurn float64 // own tokens that a further turn adds: tool results, and an answer; the first turn adds its answer only
	Turns   float64 // model calls of a whole job
	Doubt   float64 // of Turns: 1 before any job has ended, and less with each one
}

// mean returns the average size of an agent over its turns.
func (g Growth) mean() float64 { return g.Start + g.Output + max(g.Turns-1, 0)/2*g.PerTurn }

// next returns the tokens that an agent's next turn adds after so many turns.
func (g Growth) next(turns int) float64 {
	if turns == 0 {
		return g.Output
	}
	return g.PerTurn
}

// headroom returns the share of the cache that the predicted peak of such agents may fill. In every turn to come, the growth
// and the end of an agent differ from the mean, so agents with more turns can exceed the prediction by more. An agent of a
// single turn has nothing in the cache that could be evicted before a next turn, and may fill all of it. Agents that start before
// any has ended grow together, to an unknown length, so they get less. Only whole agents start, so on average half an
// agent's part of the cache is free anyway; the share includes it. budget is the cache in tokens. The form of the function is a choice.
func (g Growth) headroom(budget float64) float64 {
	free := max(spread-g.mean()/(2*max(budget, 1)), 0)
	toCome := 1 - 1/max(g.Turns, 1)
	return 1 - (free+doubt*g.Doubt)*toCome*toCome*toCome
}

// curve is the number of tokens that agents hold together at each step from now. At each step, every agent makes its next model
// call: agents are assumed to take their turns at the same pace and to leave when they are done. Counting only the tokens held
// now would admit agents that all grow together. Counting every agent's last size would leave the cache half empty.
type curve []float64

// add adds an agent to the curve. An agent with 2.3 turns left counts 0.3 at the third step.
func (c *curve) add(f Footprint, g Growth) { c.addAll(1, f.Own, f.Turns, g) }

// addAll adds agents that have made the same number of model calls. own is the sum of their tokens.
func (c *curve) addAll(agents, own, turns int, g Growth) {
	if agents == 0 {
		return
	}
	n, left := float64(agents), max(g.Turns-float64(turns), 1)
	size := float64(own) + n*g.next(turns)
	for k := 0; left > 0; k++ {
		if k == len(*c) {
			*c = append(*c, 0)
		}
		(*c)[k] += size * min(left, 1)
		size += n * g.PerTurn
		left--
	}
}

func (c curve) peak() float64 {
	if len(c) == 0 {
		return 0
	}
	return slices.Max(c)
}
