package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// chosen holds the fields of a submission that choose its rows. Nil fields are missing.
type chosen struct{ limit, sample, seed, rerun json.RawMessage }

// members returns the fields by name.
func (c *chosen) members() map[string]*json.RawMessage {
	return map[string]*json.RawMessage{"limit": &c.limit, "sample": &c.sample, "seed": &c.seed, "rerun": &c.rerun}
}

// with adds other fields to those that choose rows.
func (c *chosen) with(others map[string]*json.RawMessage) map[string]*json.RawMessage {
	maps.Copy(others, c.members())
	return others
}

// apply adds the choice to a submission.
func (c *chosen) apply(sent *operation.Sent) error {
	for _, field := range []struct {
		name  string
		value json.RawMessage
		to    *int64
	}{{"limit", c.limit, &sent.Select.Limit}, {"sample", c.sample, &sent.Select.Sample}, {"seed", c.seed, &sent.Select.Seed}} {
		if field.value == nil {
			continue
		}
		err := json.Unmarshal(field.value, field.to)
		if err != nil || field.name != "seed" && *field.to < 1 {
			return problem(http.StatusBadRequest, "invalid", "%s is %s; it must be a number of rows above 0", field.name, field.value)
		}
	}
	if c.seed != nil && c.sample == nil {
		return problem(http.StatusBadRequest, "invalid", "seed goes with sample")
	}
	if len(c.limit)+len(c.sample) > 0 && sent.Plan != nil && c.rerun == nil {
		return problem(http.StatusBadRequest, "invalid", "limit and sample choose rows of a spec's inputs; beside a compiled plan they go with rerun")
	}
	if c.rerun == nil {
		return nil
	}
	var from, where json.RawMessage
	var id string
	err := readMembers(c.rerun, map[string]*json.RawMessage{"batch": &from, "where": &where})
	for _, member := range []struct {
		name  string
		value json.RawMessage
		to    *string
	}{{"batch", from, &id}, {"where", where, &sent.Rerun.Where}} {
		if err == nil && (json.Unmarshal(member.value, member.to) != nil || *member.to == "") {
			err = fmt.Errorf("the text %s is missing", member.name)
		}
	}
	if err == nil {
		_, err = batch.ParseID(id)
	}
	if err != nil {
		return problem(http.StatusBadRequest, "invalid", `rerun is not {"batch":"b_…","where":"failed"}: %v`, err)
	}
	sent.Rerun.From = id
	return nil
}
