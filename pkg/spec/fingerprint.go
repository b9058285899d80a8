package spec

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Question is the hash of everything that is the same for every job of a compiled spec. Together with a prompt it identifies the
// job's question.
type Question struct{ sum [sha256.Size]byte }

// Question returns the Question of the jobs for a model and tools of these names. It excludes max_tokens,
// because an uncut answer is the same under a higher limit.
func (c *Compiled) Question(model string, tools []string) (Question, error) {
	sampling := c.Sampling
	sampling.MaxTokens = 0
	text, err := json.Marshal(struct {
		Version       int
		System, Model string
		Schema        json.RawMessage `json:",omitempty"`
		Sampling      Sampling
		Tools         []string      `json:",omitempty"`
		KeepReasoning KeepReasoning `json:",omitempty"` // "" for auto, so that older fingerprints stay valid
		Agent         *Agent        `json:",omitempty"`
	}{1, c.System, model, c.Schema, sampling, tools, c.KeepReasoning.stored(), c.Agent.asked()})
	if err != nil {
		return Question{}, fmt.Errorf("take the fingerprint of plan %q: %w", c.Name, err)
	}
	return Question{sha256.Sum256(text)}, nil
}

// AskedTool identifies a tool that a job may call.
type AskedTool struct {
	Name      string // on the wire
	Version   string
	MaxTokens int `json:",omitempty"` // limit of a result in the spec; 0 without one
	// Preloaded marks a tool that the agent cannot call: only preloaded calls use it.
	Preloaded bool `json:",omitempty"`
}

// Asks returns the Question of the jobs for any model. Unlike [Compiled.Question] it includes the versions of the
// tools and the limits of their results, because both change answers. It also identifies jobs with tools that have side
// effects.
func (c *Compiled) Asks(tools []AskedTool) (Question, error) {
	sampling := c.Sampling
	sampling.MaxTokens = 0
	text, err := json.Marshal(struct {
		Version  string
		System   string
		Schema   json.RawMessage `json:",omitempty"`
		Sampling Sampling
		Tools    []AskedTool `json:",omitempty"`
		// KeepReasoning is "" for auto, so that older questions stay the same.
		KeepReasoning KeepReasoning `json:",omitempty"`
		Agent         *Agent        `json:",omitempty"`
	}{"question 1", c.System, c.Schema, sampling, tools, c.KeepReasoning.stored(), c.Agent.asked()})
	if err != nil {
		return Question{}, fmt.Errorf("hash the question of plan %q: %w", c.Name, err)
	}
	return Question{sha256.Sum256(text)}, nil
}

// FingerprintLength is the length of a fingerprint: 128 bits in base64url.
const FingerprintLength = 22

// For returns the fingerprint of the job that asks this.
func (q Question) For(asked Asked) string { return q.Fingerprint(asked.text()) }

// Fingerprint returns the fingerprint of the job with this prompt and without preloaded calls.
func (q Question) Fingerprint(prompt string) string {
	h := sha256.New()
	_, _ = h.Write(q.sum[:])
	_, _ = h.Write([]byte(prompt))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Unusable returns the hash for a job with an unusable input. It differs from the hash of every prompt.
func (q Question) Unusable(reason string) string {
	return q.Fingerprint("\xff" + reason) // not UTF-8, unlike every prompt
}

// Of returns the hash of the question of a payload's job.
func (q Question) Of(c *Compiled, payload *Payload) string {
	asked, bad := c.Asked(payload)
	if bad != "" {
		return q.Unusable(bad)
	}
	return q.For(asked)
}

// Reuse is an earlier result that a job may have instead of running. The worker uses it only if it computes the same
// fingerprint for the job.
type Reuse struct {
	From        string          `json:"from"` // "<batch>/job-<index>"
	Output      json.RawMessage `json:"output"`
	Model       string          `json:"model"`
	Fingerprint string          `json:"fingerprint"`
	MaxTokens   int             `json:"max_tokens,omitempty"`
	Simulated   bool            `json:"simulated,omitempty"`
}

// Reuse makes Payloads call find for an earlier result of each job; find returns nil if none exists. identity names the
// earlier results, and becomes part of the submission's fingerprint.
func (p *Prepared) Reuse(identity string, q Question, find func(ctx context.Context, fingerprint string) (*Reuse, error)) {
	p.reuse = &reuse{identity, q, find}
}

type reuse struct {
	identity string
	question Question
	find     func(context.Context, string) (*Reuse, error)
}

// offer looks for an earlier result of a job.
func (r *reuse) offer(ctx context.Context, compiled *Compiled, job *Payload) (*Reuse, error) {
	if r == nil {
		return nil, nil
	}
	asked, bad := compiled.Asked(job)
	if bad != "" {
		return nil, errors.New(bad)
	}
	return r.find(ctx, r.question.For(asked))
}
