package earlier

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/spec"
)

// rowChoice pairs results with rows instead of questions: a result is kept under another prompt too, unless its row is chosen to
// run again.
type rowChoice struct {
	where    *filter.Filter
	byID     bool            // the rows have IDs
	now      string          // the version of the prompts of this run
	versions []string        // of the results in the file
	replaced map[int64]uint8 // by job: the version of a result that will be replaced
	arrived  int64
}

func newRowChoice(where *filter.Filter, compiled *spec.Compiled) *rowChoice {
	return &rowChoice{where: where, byID: compiled.ID != "", now: compiled.PromptVersion, replaced: map[int64]uint8{}}
}

// answerOf reduces a result to the fields that assign it to a row.
func (c *rowChoice) answerOf(r batch.Result, maker uint8) (answer, error) {
	a := answer{index: r.Index, lost: r.Status != batch.OK, maker: maker, version: c.versionOf(r.PromptVersion)}
	var err error
	if a.rerun, err = c.where.Matches(r, false); err != nil {
		return a, asUsage(err)
	}
	if c.where.AsksChanged() {
		if a.changedToo, err = c.where.Matches(r, true); err != nil {
			return a, asUsage(err)
		}
		a.asked, _ = keyOf(r.Question)
	}
	a.rerun = a.rerun || r.Error != nil && r.Error.Unfinished() || r.Status == batch.StatusCancelled
	var ok bool
	if a.key, ok = c.keyOf(r.ID, r.Row, r.Item); ok {
		a.kind = questionKey
	}
	return a, nil
}

// keyOf returns the key of a row: of its ID, or, without IDs, of its fields; of its item, if a plan made it.
func (c *rowChoice) keyOf(id, row string, item json.RawMessage) (key, bool) {
	switch {
	case c.byID:
		return hashKey("id " + id), id != ""
	case item != nil:
		return hashKey("item " + string(batch.PlainJSON(item))), true
	}
	return hashKey("row " + row), row != ""
}

// versionOf returns the position of a version in versions. The entry at 255 also represents all later versions.
func (c *rowChoice) versionOf(version string) uint8 {
	i := slices.Index(c.versions, version)
	if i < 0 && len(c.versions) < 256 {
		i, c.versions = len(c.versions), append(c.versions, version)
	}
	if i < 0 {
		i = len(c.versions) - 1
	}
	return uint8(i)
}

// strangers returns the error for a file whose results belong to no row.
func (c *rowChoice) strangers(r *Resumption, stale int64) error {
	by := "all their fields, because the spec has no id"
	if c.byID {
		by = "their id"
	}
	text := fmt.Sprintf("%s of %s in %s belong to no row of %s; rows are recognised by %s. Results of earlier versions do not name their rows",
		human.Count(stale), human.Plural(int64(len(r.answers)), "result", "results"), r.path, r.spec, by)
	if r.advice != "" {
		text += ". " + r.advice
	}
	return fault.Usagef("%s", text)
}

func (c *rowChoice) summary(p *pairing) string {
	line := fmt.Sprintf("rerunning: %s kept, %s again", human.Plural(p.kept, "result is", "results are"), human.Plural(p.rerun, "row runs", "rows run"))
	if p.changed+p.fresh > 0 {
		line += fmt.Sprintf(", %s without a result", human.Plural(p.changed+p.fresh, "row", "rows"))
	}
	if p.gone > 0 {
		line += fmt.Sprintf("; %s dropped, because their rows are missing now", human.Plural(p.gone, "result is", "results are"))
	}
	return line
}

// checkSimulated returns an error if a rerun would mix results of the simulated server with others.
func (r *Resumption) checkSimulated() error {
	for i, a := range r.answers {
		if made := r.makers[a.maker]; r.pairing.to[i] >= 0 && !a.rerun && !a.lost && made.simulated != r.now.simulated {
			return fault.Usagef("%s has results of %s, and this run asks %s; start over with another results file", r.path, made, r.now)
		}
	}
	return nil
}

// Arrived records a new result of a rerun, for [Resumption.Versions].
func (r *Resumption) Arrived(result batch.Result) {
	if r.rows != nil && result.Batch == result.Batch.Whole() {
		r.rows.arrived++
		delete(r.rows.replaced, result.Index)
	}
}

// PromptCount is the number of results with one version of the prompts.
type PromptCount struct {
	Version string // "" if the results do not record it
	Now     bool   // the version of this run
	Results int64
}

// Versions counts the results in the file by the version of their prompts, this run's first. It returns nil without a rerun.
func (r *Resumption) Versions() []PromptCount {
	if r == nil || r.rows == nil {
		return nil
	}
	c := r.rows
	counts := map[string]int64{c.now: c.arrived}
	for i, a := range r.answers {
		if r.pairing.to[i] >= 0 && !a.rerun {
			counts[c.versions[a.version]]++
		}
	}
	for _, version := range c.replaced {
		counts[c.versions[version]]++
	}
	out := []PromptCount{{c.now, true, counts[c.now]}}
	delete(counts, c.now)
	for _, version := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, PromptCount{version, false, counts[version]})
	}
	return out
}
