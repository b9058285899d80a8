package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// checkpoint writes a turn to the journal, and adds it to the conversation in the written form.
func (a *attempt) checkpoint(s *scope, t nextTurn, turn Turn) error {
	turn.LeftOut, turn.Preloaded = a.leftOut, a.firstOnly()
	data, err := plainjson.Marshal(turn)
	if err != nil {
		return fmt.Errorf("encode turn %d: %w", t.number, err)
	}
	defer since(time.Now(), &a.spent.journal)
	// The job's time limit does not end this write: the turn has already been paid for.
	if !a.part {
		if err := a.session.Journal.Append(s.caller, t.number, data); err != nil {
			return fmt.Errorf("journal turn %d: %w", t.number, err)
		}
	}
	written, err := decodeTurn(data)
	if err != nil {
		return fmt.Errorf("read back turn %d: %w", t.number, err)
	}
	a.add(written)
	return nil
}

// firstOnly returns the preloaded calls if the next turn is the first one.
func (a *attempt) firstOnly() []Preloaded {
	if a.part || a.conv.turns > 0 {
		return nil
	}
	return a.preloaded
}

// add adds a turn in the form of the journal to the conversation.
func (a *attempt) add(t Turn) {
	if a.conv.turns == 0 && !a.part && a.job.ID.Index < batch.FirstCalls {
		a.firstCall = predictable(t.Assistant.ToolCalls, a.fields)
	}
	a.conv.add(t)
	if a.def.transcripts {
		a.conv.record = append(a.conv.record, t)
	}
}

// transcript returns the job's conversation for its result, with the answer as the last turn. It is nil if the batch
// keeps no transcripts, or if the job made no model call.
func (a *attempt) transcript() (json.RawMessage, error) {
	if a.conv == nil || len(a.conv.record) == 0 {
		return nil, nil
	}
	data, err := plainjson.Marshal(a.conv.record)
	if err != nil {
		return nil, fmt.Errorf("encode the transcript of %s: %w", a.job.ID, err)
	}
	return data, nil
}

func decodeTurn(data []byte) (Turn, error) {
	var t Turn
	if err := json.Unmarshal(data, &t); err != nil {
		return Turn{}, fmt.Errorf("decode turn: %w", err)
	}
	return t, nil
}
