package earlier

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Relabel gives the results that jobs keep the IDs and the carried fields of these jobs: a result answers the same question,
// but its row may have moved or been edited, or id and carry are new. It uses about 60 bytes of memory per such result.
func (r *Resumption) Relabel(ctx context.Context, f *collect.File, payloads iter.Seq2[[]byte, error]) error {
	held := map[int64]labels{} // by index, if the result or its job has labels
	all := r.compiled.ID != "" || len(r.compiled.Carry) > 0
	err := f.Each(func(result batch.Result, from, _ int64) error {
		if !all && result.ID == "" && result.Input == nil {
			return nil
		}
		held[result.Index] = labels{keyOfLabels(result.ID, batch.PlainJSON(result.Input)), from}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	if len(held) == 0 {
		return nil
	}
	kept, index := r.Settled(), int64(-1)
	for text, err := range payloads {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		index++
		old, has := held[index]
		if !has || !kept.Has(index) {
			continue
		}
		payload, err := spec.DecodePayload(text)
		if err != nil {
			return fmt.Errorf("read a job: %w", err)
		}
		id, input, err := r.compiled.Row(&payload)
		if err != nil {
			return err
		}
		if keyOfLabels(id, input) == old.row {
			continue
		}
		if err := relabel(f, old.from, id, input); err != nil {
			return err
		}
	}
	return nil
}

// labels identify the ID and the carried fields of a result.
type labels struct {
	row  key
	from int64 // position of the result's record
}

func keyOfLabels(id string, input []byte) (k key) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(id), id, input))
	copy(k[:], sum[:])
	return k
}

// relabel appends a copy of the record at a position with another ID and other carried fields. The last record of a job counts.
func relabel(f *collect.File, from int64, id string, input json.RawMessage) error {
	result, err := f.At(from)
	if err != nil {
		return err
	}
	result.ID, result.Input = id, input
	line, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode the result of %s: %w", result.JobID, err)
	}
	return f.Write([]batch.Result{result}, [][]byte{line})
}
