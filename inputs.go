package batchagent

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/pkg/spec"
)

// Inputs are what a batch runs over. An input that is a struct, a map or another JSON object gives its members to the
// placeholders of the same names; anything else, such as a string, is {input}.
type Inputs struct {
	wire    json.RawMessage // as a spec has them
	records spec.Records    // or from the program
}

// Slice is one input per element. The slice must not change until the batch has ended.
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

// ResultsOf is one input per result with an output of an earlier batch, on the cluster that [Redis] names: the output's
// fields, in the order of that batch's inputs. The batch must have ended.
func ResultsOf(batch string) Inputs {
	text, err := json.Marshal(map[string]string{"batch": batch})
	if err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // a string always has a JSON form
	}
	return Inputs{wire: text}
}

// File is the inputs in a file (.jsonl, .json, .csv, .txt), or, if there is a * in the name, one input per file that
// matches, with the fields path, name and content.
func File(name string) Inputs {
	text, err := json.Marshal(name)
	if err != nil {
		panic(fmt.Sprintf("encode a string: %v", err)) // a string always has a JSON form
	}
	return Inputs{wire: text}
}
