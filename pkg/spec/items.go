package spec

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// itemField is the placeholder for a whole item of a plan.
const itemField = "item"

// Items returns the jobs in a planner's output: the JSON of one [Payload] per item, in order. The output must be valid
// JSON. An error is a *[batch.Error]: PlanTooLarge, or OutputInvalid if an item cannot become a job.
func (c *Compiled) Items(output json.RawMessage) ([][]byte, error) {
	var answer struct {
		Items *[]json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(output, &answer); err != nil || answer.Items == nil {
		return nil, batch.NewError(batch.OutputInvalid, "the plan has no array \"items\"")
	}
	items := *answer.Items
	if c.MaxItems > 0 && len(items) > c.MaxItems {
		return nil, batch.NewError(batch.PlanTooLarge, fmt.Sprintf(
			"the plan has %d items and may have %d; give the most important ones, or raise plan.max_items", len(items), c.MaxItems))
	}
	payloads := make([][]byte, len(items))
	for i, item := range items {
		var compact bytes.Buffer
		if err := json.Compact(&compact, item); err != nil {
			return nil, batch.NewError(batch.OutputInvalid, fmt.Sprintf("item %d of the plan: %v", i, err))
		}
		if compact.String() == "null" {
			return nil, batch.NewError(batch.OutputInvalid, fmt.Sprintf("item %d of the plan is null", i))
		}
		payload, err := Payload{Item: compact.Bytes()}.encode()
		if err != nil {
			return nil, fmt.Errorf("encode item %d of the plan: %w", i, err)
		}
		payloads[i] = payload
	}
	return payloads, nil
}

// itemInput returns the fields of an item for the prompts: its members if it is an object, and the whole item as {item}
// unless it has a member of this name.
func itemInput(item json.RawMessage) (map[string]any, error) {
	item = bytes.TrimSpace(item)
	fields := map[string]any{}
	if len(item) > 0 && item[0] == '{' {
		var err error
		if fields, err = decodeObject(item); err != nil {
			return nil, err
		}
	}
	if _, has := fields[itemField]; !has {
		whole, err := decodeValue(item)
		if err != nil {
			return nil, err
		}
		fields[itemField] = whole
	}
	return fields, nil
}

// ItemOf returns the plan's item in the JSON of a [Payload], or nil if it has none.
func ItemOf(payload []byte) json.RawMessage {
	var p struct {
		Item json.RawMessage `json:"item"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return nil
	}
	return p.Item
}
