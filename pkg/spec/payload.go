package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

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

// UnmarshalJSON keeps values as they were written: a number becomes a [json.Number], and an array or object a compact
// [json.RawMessage] with its keys in order.
func (p *Payload) UnmarshalJSON(data []byte) error {
	var wire struct {
		In    json.RawMessage `json:"in"`
		ID    string          `json:"id"`
		Row   string          `json:"row"`
		Carry json.RawMessage `json:"carry"`
		Bad   string          `json:"bad"`
		Reuse *Reuse          `json:"reuse"`
		Twin  bool            `json:"twin"`
		Item  json.RawMessage `json:"item"`
		Ended *batch.Result   `json:"ended"`

		Reduce *Reduction `json:"reduce"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*p = Payload{ID: wire.ID, Row: wire.Row, Bad: wire.Bad, Reuse: wire.Reuse, Twin: wire.Twin, Item: wire.Item, Ended: wire.Ended, Reduce: wire.Reduce}
	if wire.Carry != nil {
		var err error
		if p.Carry, err = decodeObject(wire.Carry); err != nil {
			return err
		}
	}
	if wire.Item != nil {
		in, err := itemInput(wire.Item)
		p.Input = in
		return err
	}
	if wire.In == nil {
		return nil
	}
	in, err := decodeObject(wire.In)
	p.Input = in
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

// scalarField is the field of an input that is a bare value and no object.
const scalarField = "input"

// decodeFields reads one input from JSON: an object's members are its fields, any other value is the field "input". names are
// the names of the fields in their order.
func decodeFields(raw []byte) (fields map[string]any, names []string, err error) {
	if !utf8.Valid(raw) {
		return nil, nil, errNotUTF8
	}
	raw = bytes.TrimSpace(raw)
	if err := checkJSON(raw); err != nil {
		return nil, nil, err
	}
	if names, err = checkMembers(raw); err != nil {
		return nil, nil, err
	}
	if raw[0] == '{' {
		fields, err = decodeObject(raw)
		return fields, names, err
	}
	v, err := decodeValue(raw)
	if err != nil {
		return nil, nil, err
	}
	if v == nil {
		return nil, nil, errors.New("null is not an input")
	}
	return map[string]any{scalarField: v}, nil, nil
}

// decodeObject reads the members of an object. It converts their names to Unicode's form NFC.
func decodeObject(raw []byte) (map[string]any, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	fields := make(map[string]any, len(members))
	for name, raw := range members {
		v, err := decodeValue(raw)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		fields[norm.NFC.String(name)] = v
	}
	return fields, nil
}

// decodeValue reads one valid JSON value without surrounding space.
func decodeValue(raw json.RawMessage) (any, error) {
	switch raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case 'n':
		return nil, nil //nolint:nilnil // null is a value
	case 't', 'f':
		return raw[0] == 't', nil
	case '{', '[':
		var buf bytes.Buffer
		err := json.Compact(&buf, raw)
		return json.RawMessage(buf.Bytes()), err
	default:
		return json.Number(raw), nil
	}
}

func checkJSON(raw []byte) error {
	var v json.RawMessage
	if err := json.Unmarshal(raw, &v); err != nil {
		return explainJSON(raw, err)
	}
	return nil
}
