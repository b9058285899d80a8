package earlier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Difference is a row whose results in two runs differ.
type Difference struct {
	Before, After batch.Result
	// Fields are the fields of the output that differ, sorted. It is nil if one run has no output, or if an output is no object.
	Fields []string
}

// Comparison counts what differs between two runs.
type Comparison struct {
	Both, OnlyBefore, OnlyAfter int64 // rows
	Same                        int64 // rows with the same status and the same output
	Outputs                     int64 // rows with two outputs that differ
	Fields                      map[string]int64
	Statuses                    map[StatusChange]int64
	UsageBefore, UsageAfter     batch.Usage // of the rows in both
}

// StatusChange is a change of a row's status.
type StatusChange struct{ From, To batch.Status }

// fieldsCounted limits the fields in a Comparison.
const fieldsCounted = 100

// Compare compares two runs row by row, in the order of after. It calls each with every row that differs. A row is recognised by its
// ID, or by its fields if a run has no IDs, so it may have moved. A result of an earlier version has neither. It is compared with
// the result of its index in the other run. Compare uses about 250 bytes of memory per row.
func Compare(ctx context.Context, before, after *Saved, each func(Difference) error) (Comparison, error) {
	c := Comparison{Fields: map[string]int64{}, Statuses: map[StatusChange]int64{}}
	rows := savedRows{jobs: map[int64]savedRow{}}
	err := before.past.Scan(ctx, func(r batch.Result, from int64) error {
		rows.add(r, from)
		return nil
	})
	if err != nil {
		return c, err
	}
	rows.group()
	err = after.Each(ctx, nil, func(now batch.Result) error {
		at, ok := rows.take(now)
		if !ok {
			c.OnlyAfter++
			return nil
		}
		old, err := before.past.at(ctx, []int64{at})
		if err != nil {
			return err
		}
		d, differs := c.add(old[0], now)
		if !differs {
			return nil
		}
		return each(d)
	})
	c.OnlyBefore = int64(len(rows.jobs))
	return c, err
}

// savedRows are the results of a run. Rows with equal fields have one key.
type savedRows struct {
	jobs  map[int64]savedRow // by index; without those that were taken
	byKey map[key][]int64    // indexes, the lowest last; set by group
}

type savedRow struct {
	keys rowKeys
	at   int64 // position of the record
}

// rowKeys identify a row: by its ID and by its fields. A zero key is missing.
type rowKeys [2]key

func keysOfRow(r batch.Result) (k rowKeys) {
	if r.ID != "" {
		k[0] = hashKey("id " + r.ID)
	}
	if r.Row != "" {
		k[1] = hashKey("row " + r.Row)
	}
	return k
}

// add adds a result. A later result of a job replaces the earlier one.
func (s *savedRows) add(r batch.Result, at int64) { s.jobs[r.Index] = savedRow{keysOfRow(r), at} }

// group prepares for take, after all results were added.
func (s *savedRows) group() {
	s.byKey = make(map[key][]int64, len(s.jobs))
	for _, index := range slices.Backward(slices.Sorted(maps.Keys(s.jobs))) {
		for _, k := range s.jobs[index].keys {
			if k != (key{}) {
				s.byKey[k] = append(s.byKey[k], index)
			}
		}
	}
}

// take removes the result of the same row and returns the position of its record. Of rows with equal fields it prefers the one with the
// same index. If one of two results has no keys, they are the same row if they have the same index.
func (s *savedRows) take(r batch.Result) (at int64, ok bool) {
	keys := keysOfRow(r)
	same, there := s.jobs[r.Index]
	for i, k := range keys {
		if k == (key{}) {
			continue
		}
		if there && same.keys[i] == k {
			return s.remove(r.Index), true
		}
		for left := s.byKey[k]; len(left) > 0; left = s.byKey[k] {
			index := left[len(left)-1]
			s.byKey[k] = left[:len(left)-1]
			if _, there := s.jobs[index]; there {
				return s.remove(index), true
			}
		}
	}
	if there && (keys == rowKeys{} || same.keys == rowKeys{}) {
		return s.remove(r.Index), true
	}
	return 0, false
}

func (s *savedRows) remove(index int64) (at int64) {
	at = s.jobs[index].at
	delete(s.jobs, index)
	return at
}

// hashKey returns the key of a text.
func hashKey(text string) (k key) {
	sum := sha256.Sum256([]byte(text))
	copy(k[:], sum[:])
	return k
}

// add counts one row.
func (c *Comparison) add(before, after batch.Result) (Difference, bool) {
	c.Both++
	c.UsageBefore.Add(before.Usage)
	c.UsageAfter.Add(after.Usage)
	d := Difference{Before: before, After: after}
	switch {
	case before.Status != after.Status:
		c.Statuses[StatusChange{before.Status, after.Status}]++
		return d, true
	case after.Status != batch.OK || sameJSON(before.Output, after.Output):
		c.Same++
		return d, false
	}
	c.Outputs++
	d.Fields = changedFields(before.Output, after.Output)
	for _, name := range d.Fields {
		if _, known := c.Fields[name]; known || len(c.Fields) < fieldsCounted {
			c.Fields[name]++
		}
	}
	return d, true
}

// changedFields returns the fields of two objects that differ, sorted; nil for other values.
func changedFields(a, b json.RawMessage) []string {
	var before, after map[string]json.RawMessage
	if json.Unmarshal(a, &before) != nil || json.Unmarshal(b, &after) != nil {
		return nil
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
		x, inA := before[name]
		y, inB := after[name]
		return inA == inB && sameJSON(x, y)
	})
}

// sameJSON reports whether two texts are the same JSON value, except for the order of members and the notation of numbers.
func sameJSON(a, b json.RawMessage) bool {
	return bytes.Equal(a, b) || sameValue(decoded(a), decoded(b))
}

func decoded(raw json.RawMessage) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	_ = d.Decode(&v) // results hold valid JSON
	return v
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, sameValue)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case json.Number:
		b, ok := b.(json.Number)
		if !ok || a == b {
			return ok
		}
		x, errX := a.Float64()
		y, errY := b.Float64()
		_, wholeX := a.Int64()
		_, wholeY := b.Int64()
		return errX == nil && errY == nil && x == y && (wholeX != nil || wholeY != nil)
	}
	return a == b
}
