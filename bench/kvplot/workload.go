package main

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// workload holds the results of one workload's arms.
type workload struct {
	name  string
	sweep []spread // by number of agents
	arms  map[string]spread
}

// spread holds the jobs per hour of one arm's runs. agents is 0 unless the arm is a fixed number.
type spread struct {
	agents int
	runs   []float64
}

func (s spread) median() float64 {
	sorted := slices.Sorted(slices.Values(s.runs))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

func (s spread) low() float64  { return slices.Min(s.runs) }
func (s spread) high() float64 { return slices.Max(s.runs) }

// add records a run if it is one of bench/kv.
func add(known []*workload, line *benchfmt.Result) []*workload {
	base, parts := line.Name.Parts()
	if string(base) != "KV" {
		return known
	}
	name, arm := "", ""
	for _, part := range parts {
		switch key, value, _ := strings.Cut(strings.TrimPrefix(string(part), "/"), "="); key {
		case "workload":
			name = value + name
		case "backend":
			name += ", " + value + " server"
		case "arm":
			arm = value
		}
	}
	at := slices.IndexFunc(known, func(w *workload) bool { return w.name == name })
	if at < 0 {
		at = len(known)
		known = append(known, &workload{name: name, arms: map[string]spread{}})
	}
	for _, v := range line.Values {
		if v.Unit == "jobs/h" {
			known[at].note(arm, v.Value)
		}
	}
	return known
}

func (w *workload) note(arm string, rate float64) {
	number, isFixed := strings.CutPrefix(arm, "fixed_")
	agents, err := strconv.Atoi(number)
	if !isFixed || err != nil {
		s := w.arms[arm]
		s.runs = append(s.runs, rate)
		w.arms[arm] = s
		return
	}
	at, found := slices.BinarySearchFunc(w.sweep, agents, func(s spread, n int) int { return s.agents - n })
	if !found {
		w.sweep = slices.Insert(w.sweep, at, spread{agents: agents})
	}
	w.sweep[at].runs = append(w.sweep[at].runs, rate)
}
