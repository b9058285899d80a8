package earlier

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// maker is the model that made a result.
type maker struct {
	model     string
	simulated bool
}

func (m maker) String() string {
	switch {
	case m.model == "":
		return "an unnamed model"
	case m.simulated:
		return m.model + " (simulated)"
	}
	return m.model
}

// othersAllowed reports whether a spec accepts results of any model.
func othersAllowed(c *spec.Compiled) bool { return c.AnyModel }

// Resumption decides which results of a file a run keeps.
type Resumption struct {
	path     string
	spec     string
	compiled *spec.Compiled
	now      maker
	Asks     spec.Question
	Prints   spec.Question // for the same jobs, with the present model
	effects  bool          // a tool has side effects
	force    bool
	rows     *rowChoice // rerun pairs results with rows; nil pairs them with questions
	advice   string     // follows the error for results that belong to no row
	// simulatedUnknown: only the workers know whether the simulated server runs the batch.
	simulatedUnknown bool

	answers []answer // sorted by index
	makers  []maker
	jobs    jobKeys
	pairing *pairing
}

// KeepOptions say where the results of the earlier run are.
type KeepOptions struct {
	Path  string // the results file
	Spec  string // display name of the spec
	Force bool   // drop results that match no job, however many
	// Rerun selects results of rows that run again, whose other results are kept under any prompt. Nil keeps results that answer
	// the questions of their jobs.
	Rerun *filter.Filter
	Runs  func(index int64) bool // reports whether the row has a job; nil is all rows
	// Advice follows the error for results that belong to no row: what the user can do.
	Advice string
}

// NewResumption prepares a Resumption and reads nothing yet. tools are the tools of the run.
func NewResumption(o KeepOptions, compiled *spec.Compiled, tools *toolpool.Pool, model backend.Model) (*Resumption, error) {
	r := &Resumption{
		path: o.Path, spec: o.Spec, compiled: compiled, force: o.Force, now: maker{cmp.Or(compiled.Model, model.ID), model.Simulated},
		effects: hasEffects(compiled, tools), jobs: jobKeys{runs: o.Runs}, advice: o.Advice,
	}
	if o.Rerun != nil {
		r.rows = newRowChoice(o.Rerun, compiled)
	}
	var err error
	if r.Asks, err = questionOf(compiled, tools); err != nil {
		return nil, err
	}
	names := make([]string, len(compiled.Tools))
	for i, name := range compiled.Tools {
		names[i] = toolpool.WireName(name)
	}
	r.Prints, err = compiled.Question(r.now.model, names)
	return r, err
}

// questionOf returns the question that a worker with these tools sends for the jobs of a compiled spec.
func questionOf(compiled *spec.Compiled, tools *toolpool.Pool) (spec.Question, error) {
	asked := make([]spec.AskedTool, len(compiled.Tools))
	for i, name := range compiled.Tools {
		t, _ := tools.Lookup(toolpool.WireName(name)) // localTools has already refused missing tools
		asked[i] = spec.AskedTool{Name: t.Name, Version: t.Version, MaxTokens: compiled.ToolSettings[name].MaxTokens}
	}
	for _, name := range agent.PreloadOnly(compiled) {
		t, _ := tools.Lookup(name)
		asked = append(asked, spec.AskedTool{Name: t.Name, Version: t.Version, Preloaded: true})
	}
	return compiled.Asks(asked)
}

func hasEffects(compiled *spec.Compiled, tools *toolpool.Pool) bool {
	return slices.ContainsFunc(compiled.Tools, func(name string) bool {
		t, _ := tools.Lookup(toolpool.WireName(name))
		return t.Share == toolpool.Effect || compiled.ToolSettings[name].Share == string(toolpool.Effect)
	})
}

// Pair reads the file and the jobs and pairs them. It returns an error if too many results answer other questions.
func (r *Resumption) Pair(ctx context.Context, f *collect.File, payloads iter.Seq2[[]byte, error]) error {
	return r.pairWith(ctx, func(fn func(batch.Result) error) error {
		return f.Each(func(result batch.Result, _, _ int64) error { return fn(result) })
	}, payloads)
}

// pairWith is Pair for the results that each reads.
func (r *Resumption) pairWith(ctx context.Context, each func(func(batch.Result) error) error, payloads iter.Seq2[[]byte, error]) error {
	if err := r.readAnswers(each); err != nil {
		return err
	}
	if err := r.readJobs(ctx, payloads); err != nil {
		return err
	}
	r.pairing = pair(r.answers, &r.jobs)
	if r.rows != nil {
		for i, to := range r.pairing.to {
			if to >= 0 && r.answers[i].rerun {
				r.rows.replaced[to] = r.answers[i].version
			}
		}
	}
	return r.check()
}

// readAnswers records the question that each result of the file answers. A job's last record counts.
func (r *Resumption) readAnswers(each func(func(batch.Result) error) error) error {
	err := each(func(result batch.Result) error {
		a := r.answerOf(result)
		if r.rows != nil {
			var err error
			if a, err = r.rows.answerOf(result, a.maker); err != nil {
				return err
			}
		}
		r.answers = append(r.answers, a)
		return nil
	})
	if err == nil && r.rows != nil {
		err = asUsage(r.rows.where.Unseen())
	}
	if fault.IsUsage(err) {
		return err
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	slices.SortStableFunc(r.answers, func(a, b answer) int { return cmp.Compare(a.index, b.index) })
	last := r.answers[:0]
	for i, a := range r.answers {
		if i+1 == len(r.answers) || r.answers[i+1].index != a.index {
			last = append(last, a)
		}
	}
	r.answers = last
	return nil
}

func (r *Resumption) answerOf(result batch.Result) answer {
	a := answer{index: result.Index, lost: result.Status != batch.OK, rerun: mayPassNow(result, r.compiled), maker: r.makerOf(result)}
	if !a.lost && !validUnder(result, r.compiled.Sampling.MaxTokens) {
		return a
	}
	var ok bool
	if a.key, ok = keyOf(result.Question); ok {
		a.kind = questionKey
	} else if a.key, ok = keyOf(result.Fingerprint); ok {
		a.kind = fingerprintKey
	}
	return a
}

// mayPassNow reports whether a job without output runs again, because its error may pass or the limit that it reached
// was raised.
func mayPassNow(r batch.Result, c *spec.Compiled) bool {
	switch {
	case r.Status == batch.OK:
		return false
	case r.Error == nil, r.Error.Unfinished(), r.Status == batch.StatusCancelled:
		return true
	case r.Error.Type == batch.OutputTruncated:
		limit := c.Sampling.MaxTokens
		return limit != r.MaxTokens && (limit == 0 || limit > r.MaxTokens)
	case r.Error.Type == batch.TurnsExhausted:
		return c.MaxTurns > r.Turns
	}
	return false
}

// makerOf returns the position of the result's maker in makers. The entry at 255 also represents all later makers.
func (r *Resumption) makerOf(result batch.Result) uint8 {
	m := maker{result.AskedModel(), result.Simulated}
	i := slices.Index(r.makers, m)
	if i < 0 && len(r.makers) < 256 {
		i, r.makers = len(r.makers), append(r.makers, m)
	}
	if i < 0 {
		i = len(r.makers) - 1
	}
	return uint8(i)
}

// readJobs hashes the questions of all jobs.
func (r *Resumption) readJobs(ctx context.Context, payloads iter.Seq2[[]byte, error]) error {
	older := slices.ContainsFunc(r.answers, func(a answer) bool { return a.kind == fingerprintKey })
	for payload, err := range payloads {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		question, fingerprint, err := r.keysOf(payload, older)
		if err != nil {
			return err
		}
		if r.rows != nil && r.rows.where.AsksChanged() {
			r.jobs.asked = append(r.jobs.asked, fingerprint)
		}
		r.jobs.questions = append(r.jobs.questions, question)
		if older {
			r.jobs.fingerprints = append(r.jobs.fingerprints, fingerprint)
		}
	}
	return nil
}

func (r *Resumption) keysOf(text []byte, older bool) (question, fingerprint key, err error) {
	payload, err := spec.DecodePayload(text)
	if err != nil {
		return question, fingerprint, fmt.Errorf("read a job: %w", err)
	}
	question, _ = keyOf(r.Asks.Of(r.compiled, &payload))
	if r.rows != nil {
		row, _ := r.rows.keyOf(payload.ID, payload.Row, payload.Item)
		return row, question, nil
	}
	if older {
		fingerprint, _ = keyOf(r.Prints.Of(r.compiled, &payload))
	}
	return question, fingerprint, nil
}

// check returns an error if resuming would mix answers of another model, or to other questions, with those of this run.
func (r *Resumption) check() error {
	p := r.pairing
	if err := r.checkMakers(); err != nil {
		return err
	}
	all := int64(len(r.answers)) - p.unknown
	switch {
	case r.force:
		return nil
	case r.rows != nil:
		if 2*p.stale > all {
			return r.rows.strangers(r, p.stale)
		}
		return nil
	case r.effects && slices.ContainsFunc(r.answers, func(a answer) bool { return a.kind == noKey }):
		return fault.Usagef("%s has results of an earlier version, which do not identify their questions, and a tool of %s has side effects, which "+
			"would happen again; a new --out starts over, --force resumes and runs those jobs again", r.path, r.spec)
	case 2*p.stale > all:
		return fault.Usagef("%s of %s in %s do not match %s any more: their inputs, prompts, schema, sampling or tools were changed; %s match. "+
			"%s; --force resumes and drops the others",
			human.Count(p.stale), human.Plural(all, "result", "results"), r.path, r.spec, human.Count(all-p.stale), r.wayOut())
	}
	return nil
}

func (r *Resumption) wayOut() string {
	if r.effects {
		return "a new --out starts over"
	}
	return fmt.Sprintf("--reuse %s with a new --out copies the matching results to another file; a new --out alone starts over", r.path)
}

// checkMakers returns an error for results of another model, unless the spec accepts any model.
func (r *Resumption) checkMakers() error {
	if othersAllowed(r.compiled) {
		return nil
	}
	if r.rows != nil {
		if r.simulatedUnknown {
			return nil
		}
		return r.checkSimulated()
	}
	others := map[maker]int64{}
	own := map[uint8]bool{} // makers whose fingerprints match the present model, even under another name
	for i, a := range r.answers {
		if a.kind == fingerprintKey && r.pairing.to[i] >= 0 {
			own[a.maker] = true
		}
	}
	for i, a := range r.answers {
		made := r.makers[a.maker]
		switch {
		case a.rerun, made == r.now:
		case a.kind == questionKey && r.pairing.to[i] >= 0, a.kind == fingerprintKey && r.pairing.to[i] < 0 && !own[a.maker]:
			others[made]++
		}
	}
	if len(others) == 0 {
		return nil
	}
	var parts []string
	for _, m := range slices.SortedFunc(maps.Keys(others), func(a, b maker) int { return cmp.Compare(a.String(), b.String()) }) {
		parts = append(parts, fmt.Sprintf("%s of %s", human.Plural(others[m], "result", "results"), m))
	}
	return fault.Usagef("%s has %s, and this run asks %s; resume with the same model, or start over with a new --out", r.path, strings.Join(parts, " and "), r.now)
}

// Apply makes the file hold only the results that jobs keep, with the indexes of those jobs. It returns the file to use
// from now on.
func (r *Resumption) Apply(f *collect.File) (*collect.File, error) {
	if !r.pairing.rewrites(r.answers) {
		return f, nil
	}
	return f.Rewritten(collect.MaxIndex, func(index int64) int64 { return r.pairing.newIndex(r.answers, index) })
}

// Settled returns the indexes of the jobs that need not run.
func (r *Resumption) Settled() collect.Bitmap {
	var out collect.Bitmap
	for i, a := range r.answers {
		if to := r.pairing.to[i]; to >= 0 && !a.rerun {
			out.Set(to)
		}
	}
	return out
}

// Summary describes the results that are kept and the jobs that run.
func (r *Resumption) Summary() string {
	p := r.pairing
	if r.jobs.runs != nil {
		p.fresh = 0
		for index := range int64(len(r.jobs.questions)) {
			if !p.taken.Has(index) && r.jobs.runs(index) {
				p.fresh++
			}
		}
	}
	if r.rows != nil {
		return r.rows.summary(p)
	}
	line := fmt.Sprintf("resuming: %s kept (%s moved), %s changed, %s new", human.Count(p.kept), human.Count(p.moved), human.Count(p.changed), human.Count(p.fresh))
	if p.rerun > 0 {
		line += fmt.Sprintf(", %s failed before and run again", human.Count(p.rerun))
	}
	if p.gone > 0 {
		line += fmt.Sprintf("; %s dropped, because their inputs are missing now", human.Plural(p.gone, "result is", "results are"))
	}
	return line
}

// Still returns an error if the question of a job that keeps its result has changed since pairing.
func (r *Resumption) Still(index int64, payload []byte) error {
	question, _, err := r.keysOf(payload, false)
	if err == nil && (index >= int64(len(r.jobs.questions)) || question != r.jobs.questions[index]) {
		err = fmt.Errorf("%s: %w", batch.JobID(index), spec.ErrInputsChanged)
	}
	return err
}

// keyOf decodes a hash of package spec. ok is false for other text.
func keyOf(text string) (k key, ok bool) {
	if len(text) != spec.FingerprintLength {
		return k, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(k[:], []byte(text))
	return k, err == nil && n == len(k)
}
