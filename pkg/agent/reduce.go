package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
)

const (
	defaultWindow = 32_768 // tokens of context if the server does not report them
	defaultAnswer = 4_096  // tokens kept free for an answer without max_tokens
	minGroup      = 2_000  // bytes of results that fit one call, however small the context
	leastGroup    = 500    // minimum of room after refusals, so that refusals end
	sideBySide    = 8      // groups that are answered at once
)

// Part is the part of the results that a turn of a reduction covers.
type Part struct {
	Level int   `json:"level"` // 0 for the results themselves; each further level reduces the answers of the previous one
	From  int64 `json:"from"`  // indexes of results
	To    int64 `json:"to"`    // inclusive
	Turns int   `json:"turns"` // model calls, including a repair
}

// piece is one line of a prompt: a result, or an answer for several results.
type piece struct {
	from, to int64
	text     string
}

// reduce answers the task for n results: in one call if they fit into the context, and otherwise as a tree, level by
// level. Each answer for a part is one turn of the journal, in the order of the results.
func (a *attempt) reduce(s *scope, n int64) (json.RawMessage, error) {
	if a.session.Results == nil {
		return nil, errors.New("a job that reduces was given no results")
	}
	r := &reducer{attempt: a, scope: s, n: n, room: a.def.room(minGroup)}
	if err := r.replay(); err != nil {
		return nil, err
	}
	pieces := r.results()
	for level := 0; ; level++ {
		answers, output, err := r.level(level, pieces)
		if err != nil || output != nil {
			return output, err
		}
		pieces = func(yield func(piece, error) bool) {
			for _, p := range answers {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// room returns how many bytes of results fit into one prompt, at least least.
func (d *Definition) room(least int) int {
	window := cmp.Or(d.contextWindow(), defaultWindow)
	answer := min(cmp.Or(d.sampling.MaxTokens, defaultAnswer), window/2)
	tokens := window*fullPercent/100 - answer
	return max(tokens*bytesPerTokenIn-len(d.system)-d.taskBytes-shortResult, least)
}

// reducer is one reduction. It belongs to the agent's goroutine, except for [reducer.answer].
type reducer struct {
	*attempt
	scope *scope
	n     int64
	room  int
	done  []Turn // turns of earlier attempts in levels that are not complete yet
	wrote int    // turns in the journal
	parts int    // calls that were begun; names each of them
}

func (r *reducer) replay() error {
	for i, data := range r.job.Turns {
		t, err := decodeTurn(data)
		if err == nil && t.Part == nil {
			err = errors.New("it is not one of a reduction")
		}
		if err != nil {
			return fmt.Errorf("read turn %d of the journal: %w", i+1, err)
		}
		r.done = append(r.done, t)
		r.add(t.Part.Turns, t.Usage, t.Model)
		r.leave(t.LeftOut)
	}
	r.wrote = len(r.done)
	return nil
}

func (r *reducer) add(turns int, u batch.Usage, model string) {
	r.turns += turns
	r.usage.Add(u)
	r.served = cmp.Or(model, r.served)
}

// results returns the lines of the first level.
func (r *reducer) results() iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		count := int64(0)
		for result, err := range r.session.Results.Results(r.scope.work) {
			var text []byte
			if err == nil {
				count++
				text, err = resultLine(result)
			}
			if !yield(piece{result.Index, result.Index, string(text)}, err) || err != nil {
				return
			}
		}
		if count != r.n {
			yield(piece{}, batch.NewError(batch.BadInput, fmt.Sprintf(
				"%d of the %d results to reduce are gone from Redis: they were consumed, or their ttl passed", r.n-count, r.n)))
		}
	}
}

// resultLine returns a result as a line for the model: its content, without usage or times.
func resultLine(r batch.Result) ([]byte, error) {
	type failure struct {
		Type    batch.ErrorType `json:"type"`
		Message string          `json:"message"`
	}
	line := struct {
		Index  int64           `json:"index"`
		ID     string          `json:"id,omitempty"`
		Input  json.RawMessage `json:"input,omitempty"`
		Item   json.RawMessage `json:"item,omitempty"`
		Status batch.Status    `json:"status"`
		Output json.RawMessage `json:"output,omitempty"`
		Error  *failure        `json:"error,omitempty"`
	}{Index: r.Index, ID: r.ID, Status: r.Status}
	if r.Input != nil {
		line.Input = batch.PlainJSON(r.Input)
	}
	if r.Item != nil {
		line.Item = batch.PlainJSON(r.Item)
	}
	if r.Status == batch.OK {
		line.Output = batch.PlainJSON(r.Output)
	} else if r.Error != nil {
		line.Error = &failure{r.Error.Type, r.Error.Message}
	}
	return plainjson.Marshal(line)
}

// level answers all groups of a level and returns the lines of the next one. If there is a single group, it returns the
// output.
func (r *reducer) level(level int, pieces iter.Seq2[piece, error]) (answers []piece, output json.RawMessage, err error) {
	for len(r.done) > 0 && r.done[0].Part.Level == level {
		p, err := answerPiece(*r.done[0].Part, json.RawMessage(r.done[0].Assistant.Content))
		if err != nil {
			return nil, nil, err
		}
		answers, r.done = append(answers, p), r.done[1:]
	}
	for {
		more, output, err := r.rest(level, pieces, answers)
		answers = append(answers, more...)
		if !errors.Is(err, errTooLong) {
			return answers, output, err
		}
	}
}

// errTooLong means that the server refused a group as too long, and that the next groups are smaller.
var errTooLong = errors.New("a group is too long")

// shrink reduces the room for groups after a server refused one as too long, and reports whether it could.
func (r *reducer) shrink(err error) bool {
	failed, ok := errors.AsType[*batch.Error](err)
	if !ok || failed.Type != batch.Oversized || r.room <= leastGroup {
		return false
	}
	r.room = max(leastGroup, min(r.room/2, r.def.room(leastGroup)))
	r.log.InfoContext(r.scope.work, "the server refuses a group of results as too long; it is split", "bytes", r.room, "error", err)
	return true
}

// rest answers the groups of a level after the given answers. added are the new answers; they are valid even with an
// error.
func (r *reducer) rest(level int, pieces iter.Seq2[piece, error], answers []piece) (added []piece, output json.RawMessage, err error) {
	next, stop := iter.Pull2(r.groups(pieces, behind(answers)))
	defer stop()
	group, err, more := next()
	if err != nil {
		return nil, nil, err
	}
	if !more && len(answers) == 0 {
		return r.whole(level, nil) // no results: one call may still answer the task
	}
	var waiting [][]piece
	for more {
		var after []piece
		if after, err, more = next(); err != nil {
			return nil, nil, err
		}
		if !more && len(answers)+len(added)+len(waiting) == 0 {
			return r.whole(level, group)
		}
		waiting, group = append(waiting, group), after
		if len(waiting) == sideBySide || !more {
			done, err := r.answerAll(level, waiting)
			if added = append(added, done...); err != nil {
				return added, nil, err
			}
			waiting = nil
		}
	}
	return added, nil, nil
}

// whole answers a group that fits into one prompt.
func (r *reducer) whole(level int, group []piece) (answers []piece, output json.RawMessage, err error) {
	if err := r.withinBudget(); err != nil {
		return nil, nil, err
	}
	turn, err := r.answer(level, group, true, 0)
	r.add(turn.Part.Turns, turn.Usage, turn.Model)
	r.leave(turn.LeftOut)
	if err != nil && r.shrink(err) {
		return nil, nil, errTooLong
	}
	return nil, json.RawMessage(turn.Assistant.Content), err
}

// behind returns the index after the last result that has an answer on a level.
func behind(answers []piece) int64 {
	if len(answers) == 0 {
		return 0
	}
	return answers[len(answers)-1].to + 1
}

// groups packs neighbours from an index on into groups that fit into one prompt. A group has at least two pieces unless
// it is the last one, because no piece takes more than half of the room.
func (r *reducer) groups(pieces iter.Seq2[piece, error], from int64) iter.Seq2[[]piece, error] {
	return func(yield func([]piece, error) bool) {
		var group []piece
		size := 0
		for p, err := range pieces {
			if err != nil {
				yield(nil, err)
				return
			}
			if p.to < from {
				continue
			}
			p.text = shorten(p.text, r.room/2-1)
			if size+len(p.text)+1 > r.room {
				if !yield(group, nil) {
					return
				}
				group, size = nil, 0
			}
			group, size = append(group, p), size+len(p.text)+1
		}
		if len(group) > 0 {
			yield(group, nil)
		}
	}
}

// answerAll answers groups concurrently and journals the answers in order. Answers before a failure are kept.
func (r *reducer) answerAll(level int, groups [][]piece) ([]piece, error) {
	if err := r.withinBudget(); err != nil {
		return nil, err
	}
	turns, errs := make([]Turn, len(groups)), make([]error, len(groups))
	var all sync.WaitGroup
	for i, g := range groups {
		r.parts++
		part := r.parts
		all.Go(func() { turns[i], errs[i] = r.answer(level, g, false, part) })
	}
	all.Wait()
	var out []piece
	for i, t := range turns {
		r.add(t.Part.Turns, t.Usage, t.Model)
		r.leave(t.LeftOut)
		if errs[i] != nil && r.shrink(errs[i]) {
			return out, errTooLong
		}
		if errs[i] != nil {
			return out, r.about(t.Part, errs[i])
		}
		data, err := plainjson.Marshal(t)
		if err != nil {
			return out, fmt.Errorf("encode the answer for results %d to %d: %w", t.Part.From, t.Part.To, err)
		}
		if err := r.session.Journal.Append(r.scope.caller, r.wrote+1, data); err != nil {
			return out, fmt.Errorf("journal turn %d: %w", r.wrote+1, err)
		}
		r.wrote++
		p, err := answerPiece(*t.Part, json.RawMessage(t.Assistant.Content))
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
	return out, nil
}

// about adds the range of results to the message of a failure.
func (r *reducer) about(p *Part, err error) error {
	failed, ok := errors.AsType[*batch.Error](err)
	if !ok {
		return err
	}
	e := *failed
	e.Message = clip(fmt.Sprintf("results %d to %d: %s", p.From, p.To, failed.Message), maxMessage)
	return &e
}

// answer makes the calls for one group. The returned turn always has its Part. Safe for concurrent use.
func (r *reducer) answer(level int, group []piece, last bool, part int) (Turn, error) {
	turn := Turn{Part: &Part{Level: level, To: -1}}
	if len(group) > 0 {
		turn.Part.From, turn.Part.To = group[0].from, group[len(group)-1].to
	}
	prompt, err := r.prompt(level, group, last, turn.Part)
	if err != nil {
		return turn, err
	}
	// A separate conversation. The scheduler does not count it as a turn of the job, because its prompt continues no other
	// one.
	sub := &attempt{Runner: r.Runner, def: r.def, log: r.log, state: batch.Running, conv: newConversation(r.def.system, nil, prompt, r.def.contextWindow(), r.def.keep)}
	sub.job = Job{
		ID: batch.Job{Batch: r.job.ID.Batch, Index: r.job.ID.Index + int64(part)}, Attempt: r.job.Attempt, Stop: r.job.Stop,
	}
	sub.session, sub.part = r.session, true
	sub.session.Effects = nil
	output, err := sub.converse(r.scope)
	turn.Assistant = backend.Message{Role: backend.RoleAssistant, Content: string(output)}
	turn.Usage, turn.Model, turn.Part.Turns, turn.LeftOut = sub.usage, sub.served, sub.turns, sub.leftOut
	return turn, err
}

func (r *reducer) prompt(level int, group []piece, last bool, p *Part) (string, error) {
	size := 0
	for _, g := range group {
		size += len(g.text) + 1
	}
	lines := make([]byte, 0, size)
	for i, g := range group {
		if i > 0 {
			lines = append(lines, '\n')
		}
		lines = append(lines, g.text...)
	}
	asked, err := r.def.ask(map[string]any{spec.ResultsField: string(lines), spec.CountField: json.Number(fmt.Sprint(r.n))})
	if err != nil {
		return "", batch.NewError(batch.BadInput, err.Error())
	}
	prompt := asked.Prompt
	if level > 0 {
		prompt += "\n\nEach line is an answer that you gave before, for the results from the first to the second of its numbers. Put them together into one answer."
	}
	if !last {
		prompt += fmt.Sprintf("\n\nThese lines are about the results %d to %d of 0 to %d. The other parts are answered apart, and all are put together later.", p.From, p.To, r.n-1)
	}
	return prompt, nil
}

// answerPiece returns an answer as a line of the next level.
func answerPiece(p Part, output json.RawMessage) (piece, error) {
	text, err := plainjson.Marshal(struct {
		Results [2]int64        `json:"results"`
		Output  json.RawMessage `json:"output"`
	}{[2]int64{p.From, p.To}, output})
	if err != nil {
		return piece{}, fmt.Errorf("encode the answer for results %d to %d: %w", p.From, p.To, err)
	}
	return piece{p.From, p.To, string(text)}, nil
}
