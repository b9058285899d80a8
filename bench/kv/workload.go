package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// workload is a batch of agents, drawn from a seed.
type workload struct {
	name   string
	prefix int // tokens that all agents share
	agents []script
	texts  []int  // lengths of texts that several agents share after the prefix
	guest  *guest // nil if no other client uses the server
}

// script is the course of one agent: its turns, with the answer as the last one.
type script struct {
	texts []int // indexes of the shared texts in front of its own text
	turns []turn
}

// document returns the tokens of an agent's shared texts.
func (w workload) document(s script) (sum int) {
	for _, t := range s.texts {
		sum += w.texts[t]
	}
	return sum
}

// turn is one model call. Its prompt is the whole conversation and fresh tokens: the input, or the tool's result.
type turn struct {
	fresh, output int
	tool          time.Duration // after the call; 0 on the last turn
}

// tokens returns the tokens of all conversations and of the guest's requests.
func (w workload) tokens() (sum int) {
	for _, s := range w.agents {
		sum += w.prefix + w.document(s)
		for _, t := range s.turns {
			sum += t.fresh + t.output
		}
	}
	if w.guest != nil {
		sum += 2 * w.guest.tokens
	}
	return sum
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

// longCPU is smallCPU with longer contexts and shorter tool calls: ten turns with 220 new tokens and 8 output tokens each, and tools
// of 0.2 s.
func longCPU(n int, r *rand.Rand) workload {
	w := workload{name: "ten long turns on a small cache", prefix: 330}
	for range n {
		var s script
		for i := range 10 {
			t := turn{fresh: 190 + r.IntN(60), output: 8, tool: 200 * time.Millisecond}
			if i == 9 {
				t.tool = 0
			}
			s.turns = append(s.turns, t)
		}
		w.agents = append(w.agents, s)
	}
	return w
}

// questions returns agents of one turn: eight questions about each document of about 1,750 tokens, in random order.
func questions(n int, r *rand.Rand) workload {
	w := workload{name: "documents x 8 questions, shuffled", prefix: 250}
	for i := range n {
		if i%8 == 0 {
			w.texts = append(w.texts, 1_500+r.IntN(500))
		}
		s := script{texts: []int{len(w.texts) - 1}, turns: []turn{{fresh: 30 + r.IntN(60), output: 30 + r.IntN(90)}}}
		w.agents = append(w.agents, s)
	}
	r.Shuffle(n, func(i, j int) { w.agents[i], w.agents[j] = w.agents[j], w.agents[i] })
	return w
}

// grouped returns the workload with the agents of a document next to each other, as the submitter orders jobs.
func (w workload) grouped() workload {
	w.agents = slices.Clone(w.agents)
	first := map[int]int{}
	for i, s := range w.agents {
		last := s.texts[len(s.texts)-1]
		if _, known := first[last]; !known {
			first[last] = i
		}
	}
	slices.SortStableFunc(w.agents, func(a, b script) int { return first[a.texts[len(a.texts)-1]] - first[b.texts[len(b.texts)-1]] })
	return w
}

// sections returns agents of two to four turns about sections of long documents: collections of three documents with two to four sections
// each, and four questions about each section. The agents are in the order of their texts.
func sections(n int, r *rand.Rand) workload {
	w := workload{name: "collections, documents and sections", prefix: 250}
	text := func(tokens int) int {
		w.texts = append(w.texts, tokens)
		return len(w.texts) - 1
	}
	for len(w.agents) < n {
		collection := text(3_000 + r.IntN(2_000))
		for range 3 {
			document := text(8_000 + r.IntN(16_000))
			for range 2 + r.IntN(3) {
				section := text(1_000 + r.IntN(2_000))
				for range 4 {
					s := script{texts: []int{collection, document, section}}
					turns := 2 + r.IntN(3)
					for i := range turns {
						t := turn{fresh: 300 + r.IntN(500), output: 40 + r.IntN(80), tool: time.Duration(300+r.IntN(1_200)) * time.Millisecond}
						if i == turns-1 {
							t.tool = 0
						}
						s.turns = append(s.turns, t)
					}
					w.agents = append(w.agents, s)
				}
			}
		}
	}
	w.agents = w.agents[:n]
	return w
}

// visited is agentic on a server that another client uses for two minutes of every four. It then takes about half of the cache.
func visited(n int, r *rand.Rand) workload {
	w := agentic(n, r)
	w.name = "agentic, another client comes and goes"
	w.guest = &guest{first: time.Minute, stay: 2 * time.Minute, away: 2 * time.Minute, prompt: 3_000, output: 1_000, tokens: 40_000}
	return w
}

// rollouts has the shape of the sweep that was published for ThunderAgent on verl: up to 512 agents at a time, of which about 256 fit.
func rollouts(n int, r *rand.Rand) workload {
	w := workload{name: "rollouts, 512 at a time", prefix: 1_000}
	for range n {
		var s script
		turns := 10 + r.IntN(9)
		for i := range turns {
			t := turn{fresh: 180 + r.IntN(240), output: 50 + r.IntN(90), tool: time.Duration(300+r.IntN(1_700)) * time.Millisecond}
			if i == turns-1 {
				t.tool = 0
			}
			s.turns = append(s.turns, t)
		}
		w.agents = append(w.agents, s)
	}
	return w
}
