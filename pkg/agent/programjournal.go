package agent

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ProgramCall is the part of a journal's turn that only calls of a program have.
type ProgramCall struct {
	// Key is a hash of the request. The request itself is not stored: the program makes it again.
	Key     string               `json:"key"`
	Finish  backend.FinishReason `json:"finish,omitempty"`
	Refusal string               `json:"refusal,omitempty"`
	// Tool is the tool of a tool call; "" for a model call. The only message in Tools is its result.
	Tool   string `json:"tool,omitempty"`
	Failed bool   `json:"failed,omitempty"` // the result describes a failure
	// Index distinguishes equal tool calls of a job. See [programJournal.place].
	Index int `json:"index,omitempty"`
}

// programJournal holds the calls of a program. Those of earlier runs answer the calls of this run that have the same key, each
// once and in their order. The order between different keys does not matter, because programs make calls in parallel. The caller
// synchronizes.
type programJournal struct {
	turns    []Turn
	waiting  map[string][]int // turns of earlier runs that answered no call of this run yet, by key
	replayed int              // calls of this run that were answered
	made     int              // all calls of this run
	fresh    int              // the number of the first call, from 1, that no turn answered although some waited; 0 if none
	placed   map[string][]int // indexes of the tool calls of this run, by key
}

func readJournal(data [][]byte) (*programJournal, error) {
	j := &programJournal{}
	for i, d := range data {
		t, err := decodeTurn(d)
		if err == nil && t.Call == nil {
			err = errors.New("it is not one of a program")
		}
		if err != nil {
			return nil, fmt.Errorf("read turn %d of the journal: %w", i+1, err)
		}
		j.turns = append(j.turns, t)
	}
	j.rewind()
	return j, nil
}

// rewind begins another run: all turns so far are those of earlier runs.
func (j *programJournal) rewind() {
	j.waiting, j.placed = map[string][]int{}, map[string][]int{}
	j.replayed, j.made, j.fresh = 0, 0, 0
	for i, t := range j.turns {
		j.waiting[t.Call.Key] = append(j.waiting[t.Call.Key], i)
	}
}

func (j *programJournal) len() int { return len(j.turns) }

// add adds a call of this run.
func (j *programJournal) add(t Turn) { j.turns = append(j.turns, t) }

// take returns the turn of an earlier run that answers a call.
func (j *programJournal) take(key string) (Turn, bool) {
	at := j.waiting[key]
	if len(at) == 0 {
		return Turn{}, false
	}
	j.made++
	j.replayed++
	if j.waiting[key] = at[1:]; len(at) == 1 {
		delete(j.waiting, key)
	}
	t := j.turns[at[0]]
	j.placed[key] = append(j.placed[key], t.Call.Index)
	return t, true
}

// place returns the place of a new tool call in the effect log. A call that an earlier run began, and that is not in the journal, gets
// the same place in every run: a number from its key, and the first index that no equal call of this run has.
func (j *programJournal) place(key string) (turn, index int) {
	for slices.Contains(j.placed[key], index) {
		index++
	}
	j.placed[key] = append(j.placed[key], index)
	sum := sha256.Sum256([]byte(key))
	return int(binary.BigEndian.Uint64(sum[:8]) >> 12), index
}

// miss counts a call that no turn answers.
func (j *programJournal) miss() {
	j.made++
	if j.fresh == 0 && len(j.waiting) > 0 {
		j.fresh = j.made
	}
}

// diverged returns the number of the first call, from 1, that differed from an earlier run, at the end of a run. It is 0 if every
// turn was asked for: a call that no turn answered may then be one that an earlier run had not finished.
func (j *programJournal) diverged() int {
	switch {
	case len(j.waiting) == 0:
		return 0
	case j.fresh == 0:
		return j.made + 1 // the program ended early
	}
	return j.fresh
}

// replayed returns the recorded turn of a call.
func (c *ProgramCalls) replayed(key string) (Turn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal.take(key)
}

// place counts a tool call that no turn answers, and returns its place in the effect log.
func (c *ProgramCalls) place(key string) (turn, index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal.miss()
	return c.journal.place(key)
}

// keyLength is the length of a key in bytes before its encoding.
const keyLength = 16

// requestKey returns the hash of all that decides the answer to a request.
func requestKey(r *backend.Request) (string, error) {
	text, err := plainjson.Marshal(struct {
		Messages   []backend.Message
		Tools      []backend.Tool
		ToolChoice backend.ToolChoice
		MustCall   string
		OneCall    bool
		Schema     *backend.Schema
		Sampling   backend.Sampling
	}{r.Messages, r.Tools, r.ToolChoice, r.MustCall, r.OneCall, r.Schema, r.Sampling})
	if err != nil {
		return "", fmt.Errorf("the request cannot be written: %w", err)
	}
	return keyOf("model", text), nil
}

func toolKey(name, arguments string) string {
	return keyOf("tool", fmt.Appendf(nil, "%d %s %s", len(name), name, arguments))
}

func keyOf(kind string, text []byte) string {
	h := sha256.New()
	_, _ = h.Write([]byte(kind + "\xff"))
	_, _ = h.Write(text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:keyLength])
}

// callTurn returns the turn of a model call.
func callTurn(key string, r *backend.Response) Turn {
	return Turn{
		Assistant: r.Message, Usage: turnUsage(r.Usage), Model: r.Model, LeftOut: r.LeftOut,
		Call: &ProgramCall{Key: key, Finish: r.Finish, Refusal: r.Refusal},
	}
}

// response returns the answer that a turn recorded.
func (t Turn) response() *backend.Response {
	return &backend.Response{
		Message: t.Assistant, Finish: t.Call.Finish, Refusal: t.Call.Refusal, Model: t.Model, LeftOut: t.LeftOut,
		Usage: backend.Usage{
			PromptTokens: t.Usage.PromptTokens, CachedTokens: t.Usage.CachedTokens, CompletionTokens: t.Usage.CompletionTokens,
			Estimated: t.Usage.Estimated,
		},
	}
}

// toolTurn returns the turn of a tool call.
func toolTurn(key, name string, index int, r toolpool.Result) Turn {
	t := Turn{
		Tools:   []backend.Message{{Role: backend.RoleTool, Content: r.Content}},
		Sources: []CallSource{{From: r.Source, By: r.By}},
		Call:    &ProgramCall{Key: key, Tool: name, Failed: r.Failed, Index: index},
	}
	t.Counts.Asked = 1
	if r.Executed {
		t.Counts.Executed = 1
	}
	return t
}

// result returns the result that a turn recorded.
func (t Turn) result() toolpool.Result {
	return toolpool.Result{Content: t.Tools[0].Content, Failed: t.Call.Failed}
}
