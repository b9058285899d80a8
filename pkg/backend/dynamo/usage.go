package dynamo

import (
	"slices"
	"sync"

	"github.com/batchagent/batchagent/pkg/backend"
)

const (
	remembered = 64 // calls
	// enough is the number of calls needed for a judgement.
	enough = 8
	// slack is the allowed ratio of a prompt's tokens per byte to the median of earlier prompts.
	slack = 2.5
	// frameBytes estimates the bytes that a template adds to a message.
	frameBytes = 24
)

// usageCheck detects implausible usage: far more prompt tokens than the prompt's bytes allow, judged by earlier calls.
// A request that moved to another worker is billed for its prompt and its earlier output. A small excess is not
// detected, and does little harm. The zero value is ready for use. Safe for concurrent use.
type usageCheck struct {
	mu     sync.Mutex
	ratios []float64 // tokens per byte of the last calls; guarded by mu
	next   int       // guarded by mu
}

// plausible checks a call's usage, and records it if it is plausible.
func (c *usageCheck) plausible(r *backend.Request, u backend.Usage) bool {
	if u.PromptTokens <= 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ratio := float64(u.PromptTokens) / float64(promptBytes(r))
	if len(c.ratios) >= enough {
		usual := slices.Sorted(slices.Values(c.ratios))[len(c.ratios)/2]
		excess := float64(u.PromptTokens) - usual*float64(promptBytes(r))
		if ratio > slack*usual && excess <= float64(u.CompletionTokens) {
			return false
		}
	}
	if len(c.ratios) < remembered {
		c.ratios = append(c.ratios, ratio)
	} else {
		c.ratios[c.next] = ratio
		c.next = (c.next + 1) % remembered
	}
	return true
}

func promptBytes(r *backend.Request) int {
	n := frameBytes
	for _, m := range r.Messages {
		n += frameBytes + len(m.Content) + m.Reasoning.Bytes()
		for _, c := range m.ToolCalls {
			n += frameBytes + len(c.Name) + len(c.Arguments) + len(c.Extra)
		}
	}
	for _, t := range r.Tools {
		n += frameBytes + len(t.Name) + len(t.Description) + len(t.Parameters)
	}
	return n
}
