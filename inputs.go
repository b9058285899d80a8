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
	wire    json.RawMessage // the field inputs of a spec
	records spec.Records    // or the inputs that the program passes
}

// Slice returns one input per element. The slice must not change until the batch has ended.
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

// ResultsOf returns one input per output of an earlier batch on the cluster that [Redis] names. The fields of an input are the
// fields of the output. The order is that of the earlier batch's inputs. The earlier batch must have ended.
func ResultsOf(batch string) Inputs {
	text, err := json.Marshal(map[string]string{"batch": batch})
	if err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // a string always has a JSON form
	}
	return Inputs{wire: text}
}

// File returns the inputs in a file (.jsonl, .json, .csv, .txt). A name with a * is a pattern. It gives one input per matching
// file, with the fields path, name and content.
func File(name string) Inputs {
	text, err := json.Marshal(name)
	if err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // a string always has a JSON form
	}
	return Inputs{wire: text}
}
