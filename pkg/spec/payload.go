package spec

import (
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// Payload is the content of the job stream for one job: the fields of the input that the prompt still needs, or the
// reason why the input is unusable. It has no fields that no template uses, and no values that are already in the compiled spec.
// A waiting job therefore needs little memory in Redis.
type Payload struct {
	Input map[string]any `json:"in,omitzero"`
	// ID is the user's own key of the job; "" without one.
	ID string `json:"id,omitempty"`
	// Row is the hash of all fields of the input, see [batch.Result].
	Row string `json:"row,omitempty"`
	// Carry has the fields that the result repeats, except those that Input has under the same name. See [Compiled.Row].
	Carry map[string]any `json:"carry,omitempty"`
	Bad   string         `json:"bad,omitempty"` // reason, with the input's line; the job fails as BadInput without a model call
	Reuse *Reuse         `json:"reuse,omitempty"`
	// Twin marks a job that may have a twin, if only one of several twins runs. Jobs of a plan are not marked.
	Twin bool `json:"twin,omitempty"`
	// Item is set for a job of a plan. Input is then derived from Item, and is not written.
	Item json.RawMessage `json:"item,omitempty"`
	// Ended is the job's result of an earlier run. The job ends with it at once.
	Ended *batch.Result `json:"ended,omitempty"`
	// Reduce is set for the one job of a batch that reduces another one.
	Reduce *Reduction `json:"reduce,omitempty"`
}

// Reduction describes the results to reduce. The statestore writes it when the other batch ends.
type Reduction struct {
	N int64 `json:"n"` // number of results of the other batch
}

// DecodePayload reads the JSON of a payload.
func DecodePayload(data []byte) (p Payload, err error) {
	if err := checkJSON(data); err != nil {
		return Payload{}, err
	}
	err = p.UnmarshalJSON(data)
	return p, err
}

// UnmarshalJSON keeps values as they were written: a number becomes a [json.Number], and an array or object a compact
// [json.RawMessage] with its keys in order. data must be valid JSON.
func (p *Payload) UnmarshalJSON(data []byte) error {
	*p = Payload{}
	object := gjson.ParseBytes(data)
	if object.Type == gjson.Null { // changes nothing, by the convention of encoding/json
		return nil
	}
	if !object.IsObject() {
		return fmt.Errorf("a job is %s and no object", object.Type)
	}
	var err error
	object.ForEach(func(name, v gjson.Result) bool {
		if err = p.set(name.Str, v); err != nil {
			err = fmt.Errorf("field %q of a job: %w", name.Str, err)
		}
		return err == nil
	})
	if p.Item != nil && err == nil {
		p.Input, err = itemInput(p.Item)
	}
	return err
}

// set decodes one field.
func (p *Payload) set(name string, v gjson.Result) (err error) {
	raw := []byte(v.Raw)
	switch name {
	case "in":
		p.Input, err = decodeObject(raw)
	case "carry":
		p.Carry, err = decodeObject(raw)
	case "item":
		p.Item = raw
	case "id":
		return json.Unmarshal(raw, &p.ID)
	case "row":
		return json.Unmarshal(raw, &p.Row)
	case "bad":
		return json.Unmarshal(raw, &p.Bad)
	case "twin":
		return json.Unmarshal(raw, &p.Twin)
	case "reuse":
		return json.Unmarshal(raw, &p.Reuse)
	case "ended":
		return json.Unmarshal(raw, &p.Ended)
	case "reduce":
		return json.Unmarshal(raw, &p.Reduce)
	}
	return err
}

// Asked returns the content of the question of a payload's job. bad is the reason if the input cannot be used. It is safe for
// concurrent use.
func (c *Compiled) Asked(p *Payload) (asked Asked, bad string) {
	if p.Bad != "" {
		return Asked{}, p.Bad
	}
	asked, err := c.Ask(p.Input)
	if err == nil && c.Agent != nil {
		asked.Input, err = plainjson.Marshal(p.input())
	}
	if err != nil {
		return Asked{}, err.Error()
	}
	return asked, ""
}

// EndedPayload returns the JSON of a [Payload] for a job that ends at once with an earlier result.
func EndedPayload(r batch.Result) ([]byte, error) { return Payload{Ended: &r}.encode() }

// encode returns the JSON form of p. Nothing is escaped for HTML, so that nested values stay the same byte for byte.
func (p Payload) encode() ([]byte, error) {
	return plainjson.Marshal(p)
}
