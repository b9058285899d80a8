package main

import (
	"math/rand/v2"
	"time"
)

// workload is a batch of agents, drawn from a seed.
type workload struct {
	name   string
	prefix int // tokens that all agents share
	agents []script
}

// script is the course of one agent: its turns, with the answer as the last one.
type script struct {
	turns []turn
}

// turn is one model call. Its prompt is the whole conversation and fresh tokens: the input, or the tool's result.
type turn struct {
	fresh, output int
	tool          time.Duration // after the call; 0 on the last turn
}

// single returns agents of one turn with a shared prefix.
func single(n int, r *rand.Rand) workload {
	w := workload{name: "one turn, shared prefix", prefix: 2_048}
	for range n {
		w.agents = append(w.agents, script{turns: []turn{{fresh: 300 + r.IntN(400), output: 50 + r.IntN(150)}}})
	}
	return w
}

// oneTool returns agents of two turns with one tool call, like the seed's Table 2, and a prefix of 1,024 tokens.
func oneTool(n int, r *rand.Rand) workload {
	w := workload{name: "two turns, one tool", prefix: 1_024}
	for range n {
		w.agents = append(w.agents, script{turns: []turn{
			{fresh: 100 + r.IntN(100), output: 20 + r.IntN(40), tool: 200*time.Millisecond + time.Duration(r.IntN(400))*time.Millisecond},
			{fresh: 200 + r.IntN(400), output: 60 + r.IntN(120)},
		}})
	}
	return w
}

// agentic returns agents of ten turns on average. They have 2,000 to 20,000 tokens of context, and tools that take half a second
// or five. A turn writes 85 tokens on average. Published traces of coding agents have about 130 input tokens per output token.
func agentic(n int, r *rand.Rand) workload {
	w := workload{name: "agentic, 2k to 20k tokens", prefix: 1_500}
	for range n {
		var s script
		turns := 8 + r.IntN(5)
		for i := range turns {
			t := turn{fresh: 1_400 + r.IntN(900), output: 40 + r.IntN(91), tool: time.Duration(300+r.IntN(400)) * time.Millisecond}
			if r.IntN(4) == 0 {
				t.tool = time.Duration(3_000+r.IntN(4_000)) * time.Millisecond
			}
			if i == 0 {
				t.fresh = 300 + r.IntN(400)
			}
			if i == turns-1 {
				t.tool = 0
			}
			s.turns = append(s.turns, t)
		}
		w.agents = append(w.agents, s)
	}
	return w
}

// longTools is agentic with one slow tool call in eight, which takes one to three minutes.
func longTools(n int, r *rand.Rand) workload {
	w := agentic(n, r)
	w.name = "agentic, a tool of minutes"
	for _, s := range w.agents {
		for i := range s.turns[:len(s.turns)-1] {
			t := &s.turns[i]
			t.tool = time.Duration(300+r.IntN(400)) * time.Millisecond
			if r.IntN(8) == 0 {
				t.tool = time.Duration(60+r.IntN(120)) * time.Second
			}
		}
	}
	return w
}

// smallCPU is the workload measured on a real vLLM on two CPU cores: eight turns with 165 new tokens and 8 output tokens each,
// and tools of one second.
func smallCPU(n int, r *rand.Rand) workload {
	w := workload{name: "eight turns on a small cache", prefix: 330}
	for range n {
		var s script
		for i := range 8 {
			t := turn{fresh: 140 + r.IntN(40), output: 8, tool: time.Second}
			if i == 7 {
				t.tool = 0
			}
			s.turns = append(s.turns, t)
		}
		w.agents = append(w.agents, s)
	}
	return w
}
