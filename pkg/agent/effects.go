package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Effects is the effect log of one job. A turn is recorded before the first of its calls runs. An
// attempt that takes over in the middle of the turn continues with the same calls. A repeated model call might return
// others, and it would be unknown which of the first ones had happened.
type Effects interface {
	toolpool.EffectLog
	// OpenTurn records a turn before its calls run. It returns an error only if nothing more may be written.
	OpenTurn(ctx context.Context, turn int, data []byte) error
	// OpenedTurn returns the data that OpenTurn recorded for the turn, or nil.
	OpenedTurn(ctx context.Context, turn int) ([]byte, error)
}

// openedTurn is the recorded form of a model's answer.
type openedTurn struct {
	Message backend.Message `json:"message"`
	Usage   backend.Usage   `json:"usage"`
	Model   string          `json:"model"`
	// Preloaded are the calls before the first turn.
	Preloaded []Preloaded `json:"preloaded,omitempty"`
}

// open records the turn if one of its calls has side effects.
func (a *attempt) open(s *scope, t nextTurn, resp *backend.Response, calls []repairedCall) error {
	if a.session.Effects == nil {
		return nil
	}
	for _, c := range calls {
		if c.problem != "" || a.def.calls[c.history.Name].Share != toolpool.Effect {
			continue
		}
		data, err := json.Marshal(openedTurn{Message: resp.Message, Usage: resp.Usage, Model: resp.Model, Preloaded: a.firstOnly()})
		if err != nil {
			return fmt.Errorf("encode turn %d: %w", t.number, err)
		}
		defer since(time.Now(), &a.spent.journal)
		if err := a.session.Effects.OpenTurn(s.work, t.number, data); err != nil {
			return a.unwritten(s, err)
		}
		return nil
	}
	return nil
}

// reopen returns the model's answer of a turn that an earlier attempt had opened, or nil.
func (a *attempt) reopen(s *scope, t nextTurn) (*backend.Response, error) {
	if a.session.Effects == nil || !a.def.effects || a.reopened {
		return nil, nil
	}
	a.reopened = true // only the attempt's first turn can be half done
	o, err := a.openedTurn(s, t.number)
	if err != nil || o == nil {
		return nil, err
	}
	a.log.InfoContext(s.work, "resuming a turn with tool calls that had begun", "turn", t.number)
	return &backend.Response{Message: o.Message, Finish: backend.FinishToolCalls, Usage: o.Usage, Model: o.Model}, nil
}

// openedTurn reads a turn that an earlier attempt had opened, or returns nil.
func (a *attempt) openedTurn(s *scope, number int) (*openedTurn, error) {
	data, err := a.session.Effects.OpenedTurn(s.work, number)
	if err != nil {
		return nil, a.unwritten(s, err)
	}
	if data == nil {
		return nil, nil
	}
	var o openedTurn
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("read turn %d, which was left open: %w", number, err)
	}
	return &o, nil
}

// unwritten returns why the effect log could not be used.
func (a *attempt) unwritten(s *scope, err error) error {
	if over := s.over(); over != nil {
		return over
	}
	return err
}

// effectFailure maps the error of a call's effect log to the end of the job. An effect with an unknown outcome fails the
// job. Any other error ends the attempt without a result.
func (a *attempt) effectFailure(s *scope, err error) error {
	unknown, ok := errors.AsType[*toolpool.UnknownEffectError](err)
	if !ok {
		return a.unwritten(s, err)
	}
	message := unknown.Error()
	if unknown.Asked {
		message += fmt.Sprintf("; say what happened: coordinator resolve %s %s --outcome done, or failed, or again", a.job.ID.Batch, batch.JobID(a.job.ID.Index))
	} else {
		message += "; `coordinator retry` starts the job afresh, with all its calls"
	}
	return batch.NewError(batch.EffectUnknown, message)
}
