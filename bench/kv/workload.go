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

// script is what one agent does: its turns, the last one being the answer.
type script struct {
	turns []turn
}

// turn is one model call. Its prompt is all before it and fresh tokens more: the input, or what the tool returned.
type turn struct {
	fresh, output int
	tool          time.Duration // after the call; 0 on the last turn
}

// single is one turn behind a shared prefix.
func single(n int, r *rand.Rand) workload {
	w := workload{name: "one turn, shared prefix", prefix: 2_048}
	for range n {
		w.agents = append(w.agents, script{turns: []turn{{fresh: 300 + r.IntN(400), output: 50 + r.IntN(150)}}})
	}
	return w
}

// oneTool is two turns with one tool call, as in the seed's Table 2: a prefix of 1,024 tokens.
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

// agentic is ten turns on average, from 2,000 to 20,000 tokens of context, with tools that answer in half a second or in five. A
// turn writes 85 tokens on average: published traces of coding agents read about 130 tokens for each that they write.
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

// longTools is agentic with a slow tool that takes one to three minutes, one call in eight.
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

// smallCPU is what was measured on a real vLLM on two CPU cores: eight turns, 165 new tokens each, 8 written, tools of one second.
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
