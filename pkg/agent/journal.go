package agent

import (
	"encoding/json"
	"fmt"
	"time"
)

// checkpoint writes a turn to the journal and takes it into the conversation, in the form in which it was written.
func (a *attempt) checkpoint(s *scope, t turnPlan, turn Turn) error {
	data, err := encode(turn)
	if err != nil {
		return fmt.Errorf("encode turn %d: %w", t.number, err)
	}
	defer since(time.Now(), &a.spent.journal)
	// The job's own time limit does not end this write: a turn that was paid for is worth keeping.
	if err := a.job.Append(s.caller, t.number, data); err != nil {
		return fmt.Errorf("journal turn %d: %w", t.number, err)
	}
	written, err := decodeTurn(data)
	if err != nil {
		return fmt.Errorf("read back turn %d: %w", t.number, err)
	}
	a.conv.add(written)
	return nil
}

func decodeTurn(data []byte) (Turn, error) {
	var t Turn
	if err := json.Unmarshal(data, &t); err != nil {
		return Turn{}, fmt.Errorf("decode turn: %w", err)
	}
	return t, nil
}
