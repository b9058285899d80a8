package batchagent

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/pkg/spec"
)

// Inputs is the list of inputs of a batch. The members of a struct, a map or another JSON object fill the placeholders of the
// same names. Any other value, such as a string, fills {input}.
type Inputs struct {
	named   any          // the field inputs of a spec
	records spec.Records // or the inputs that the program passes
}

// MarshalJSON returns the field inputs of a spec. Inputs of [Slice] are not in it.
func (i Inputs) MarshalJSON() ([]byte, error) { return json.Marshal(i.named) }

// Slice returns one input per element. The slice must not change until the batch has ended, or until Submit has returned.
func Slice[T any](elements []T) Inputs {
	return Inputs{records: func(context.Context) iter.Seq2[spec.Record, error] {
		return func(yield func(spec.Record, error) bool) {
			for i, e := range elements {
				where := fmt.Sprintf("input %d", i)
				text, err := json.Marshal(e)
				if err != nil {
					yield(spec.Record{}, fmt.Errorf("encode %s: %w", where, err))
					return
				}
				if !yield(spec.Record{Where: where, JSON: text}, nil) {
					return
				}
			}
		}
	}}
}

// ResultsOf returns one input per output of an earlier batch in the Redis of the cluster. The fields of an input are the fields of
// the output. The order is that of the earlier batch's inputs. The earlier batch must have ended. Use it with [Submit].
func ResultsOf(batchID string) Inputs { return Inputs{named: map[string]string{"batch": batchID}} }

// File returns the inputs in a file (.jsonl, .json, .csv, .txt). A name with a * is a pattern. It gives one input per matching
// file, with the fields path, name and content.
func File(name string) Inputs { return Inputs{named: name} }
