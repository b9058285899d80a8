package spec

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Prepared is a spec after the first pass over its inputs. It must not be used after its Spec is closed. It is not safe
// for concurrent use.
type Prepared struct {
	Jobs     *Compiled
	Planner  *Compiled // of the batch that plans this one, without Plans; nil if the inputs are known
	Reducer  *Compiled // of the batch that reduces this one, without Reduces; nil without one
	Rows     int64     // number of inputs, including bad ones; 0 if not yet known
	Total    int64     // number of jobs: Rows, unless Choose chose some of them
	Bad      []Input   // the first bad inputs, at most [MaxBadKept]
	BadCount int64     // number of all bad inputs
	// Copies is the number of inputs with the prompt of an earlier one, or -1 if there are too many inputs to find out. It is 0 if the
	// inputs are not known yet.
	Copies int64
	// Notes are messages for the user about the inputs, such as the delimiter of a CSV file, or a better order of placeholders.
	Notes []string

	spec      *Spec
	fields    []string          // placeholders of the task, sorted
	names     map[string]string // names of the inputs' fields, or paths into them, by placeholder
	constants map[string]string // values in the compiled spec, by name; they must not change between the passes
	identity  [sha256.Size]byte // hash of the inputs
	sample    Sample            // of the inputs
	twins     *twins            // nil if every job runs
	used      []string          // names of the fields that prompts and preloaded calls use
	reuse     *reuse            // nil runs every job
	resumed   func(index int64) bool
	chosen    func(index int64) bool // nil chooses all rows
	choice    string                 // identity of chosen
}

// AnyModel reports whether the jobs of the batch may use different models (`model: any`).
func (p *Prepared) AnyModel() bool { return p.Jobs.AnyModel }

// ErrInputsChanged is returned if the inputs differ when they are read again for the submit.
var ErrInputsChanged = errors.New("the inputs changed while they were being read; run the command again")

// Compile reads all inputs and separates the shared prefix from the per-job part. Memory does not grow with the number
// of inputs.
//
// It returns [Errors] if the inputs cannot be read or a prompt does not match them. It returns [BadInputsError] if
// inputs are unusable and on_bad_input is not skip, or if no input is usable. It returns ctx's cause if ctx is done.
//
// If a plan makes the inputs, Prepare reads none, and no value counts as the same in every input.
func (s *Spec) Prepare(ctx context.Context) (*Prepared, error) {
	if s.planner != nil {
		return s.compilePlanned()
	}
	v, err := s.survey(ctx)
	if err != nil {
		return nil, s.unreadable(ctx, err)
	}
	if v.total == 0 {
		why := cmp.Or(strings.Join(s.notes(), "; "), "nothing to do")
		return nil, Errors{{File: s.Path, Field: inputsField, Message: "there are no inputs: " + why}}
	}
	if err := s.checkNames(v).OrNil(); err != nil {
		return nil, err
	}
	if err := s.checkIDs(ctx, v.rows); err != nil {
		return nil, err
	}
	s.rows.reserved = v.rows.carried(s.content())
	placed, errs := s.place(func(name string) bool { return v.used[name] != nil && v.used[name].seen() })
	if err := errs.OrNil(); err != nil {
		return nil, err
	}
	if v.badCount == v.total || (v.badCount > 0 && s.OnBadInput == Fail) {
		return nil, &BadInputsError{Count: v.badCount, Total: v.total, First: v.bad}
	}
	compiled := s.settings
	compiled.ID, compiled.Carry = s.rows.id.text, s.rows.reserved
	compiled.PromptVersion = s.promptVersion()
	constants := v.constants()
	if err := s.fill(&compiled, placed, constants); err != nil {
		return nil, err
	}
	if err := s.fillPreloads(&compiled, placed, v.constant); err != nil {
		return nil, err
	}
	if err := s.checkDialect(v, placed).OrNil(); err != nil {
		return nil, err
	}
	p := &Prepared{
		Jobs: &compiled, Reducer: copyOf(s.reduce), Rows: v.total, Total: v.total, Bad: v.bad, BadCount: v.badCount,
		Notes: append(slices.Clone(s.notes()), s.unusedSigns(v.names(slices.Sorted(maps.Keys(v.known))))...),
		spec:  s, fields: compiled.placeholders(), names: placed.names, constants: constants, sample: v.sample,
	}
	v.twins.finish()
	if p.Copies = v.twins.copies; v.twins.full {
		p.Copies = -1
	}
	if compiled.Identical == IdenticalOnce {
		p.twins, p.used = v.twins, slices.Collect(maps.Keys(v.used))
	}
	if advice := v.sharing.advice(p.Jobs, p.names); advice != "" {
		p.Notes = append(p.Notes, advice)
	}
	sum := sha256.New()
	if err := s.inputs.identify(ctx, sum); err != nil {
		return nil, s.unreadable(ctx, err)
	}
	sum.Sum(p.identity[:0])
	return p, nil
}

func (s *Spec) compilePlanned() (*Prepared, error) {
	compiled := s.settings
	compiled.PromptVersion = s.promptVersion()
	placed, errs := s.place(s.ofItem)
	if err := errs.OrNil(); err != nil {
		return nil, err
	}
	if err := s.fill(&compiled, placed, nil); err != nil {
		return nil, err
	}
	none := func(string) (any, bool) { return nil, false }
	if err := s.fillPreloads(&compiled, placed, none); err != nil {
		return nil, err
	}
	compiled.Names = placed.renamed()
	return &Prepared{Jobs: &compiled, Planner: copyOf(s.planner), Reducer: copyOf(s.reduce), spec: s}, nil
}

// copyOf returns a copy, so that the caller can change the spec of a stage.
func copyOf(c *Compiled) *Compiled {
	if c == nil {
		return nil
	}
	copied := *c
	return &copied
}

// unreadable reports err as a mistake of the inputs, unless ctx is done.
func (s *Spec) unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return Errors{{File: s.Path, Field: inputsField, Message: err.Error(), Cause: err}}
}

// Fingerprint returns a hash of the compiled spec and the inputs, in 64 hex digits. It is the same for two submits of the same
// spec over the same inputs: files with the same sizes and times, or the same bytes on standard input. It includes the
// caller's changes to Plan.
func (p *Prepared) Fingerprint() (string, error) {
	plan, err := json.Marshal(p.Jobs)
	if err != nil {
		return "", fmt.Errorf("write plan: %w", err)
	}
	text := fmt.Appendf(nil, "%x %s\n%s", p.identity, p.spec.OnBadInput, plan)
	for _, stage := range []struct {
		name     string
		compiled *Compiled
	}{{"plan", p.Planner}, {"reduce", p.Reducer}} {
		if stage.compiled == nil {
			continue
		}
		settings, err := json.Marshal(stage.compiled)
		if err != nil {
			return "", fmt.Errorf("write the settings of the stage %s: %w", stage.name, err)
		}
		text = fmt.Appendf(text, "\n%s %s", stage.name, settings)
	}
	if p.chosen != nil {
		text = fmt.Appendf(text, "\nchosen %s", p.choice)
	}
	if p.reuse != nil {
		text = fmt.Appendf(text, "\nreuse %q", p.reuse.identity)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Choose selects n of the inputs to run. chosen reports whether the row with this index is one of them, and identity names the
// choice. The compiled spec is that of all inputs, so that a row has the same prompt in a trial and in the whole batch.
func (p *Prepared) Choose(chosen func(index int64) bool, n int64, identity string) {
	p.chosen, p.Total, p.choice = chosen, n, identity
}

// Chosen reports whether the row with this index runs.
func (p *Prepared) Chosen(index int64) bool { return p.chosen == nil || p.chosen(index) }

// Payloads returns the JSON of each job's [Payload], in the order of the rows. An error ends it. If a plan makes the
// inputs, the only payload is that of the planner's one job.
func (p *Prepared) Payloads(ctx context.Context) iter.Seq2[[]byte, error] {
	if p.chosen == nil {
		return p.AllPayloads(ctx)
	}
	return func(yield func([]byte, error) bool) {
		row := int64(0)
		for line, err := range p.AllPayloads(ctx) {
			if (err != nil || p.chosen(row)) && !yield(line, err) {
				return
			}
			row++
		}
	}
}

// AllPayloads is [Prepared.Payloads] for all rows, also those that are not chosen.
func (p *Prepared) AllPayloads(ctx context.Context) iter.Seq2[[]byte, error] {
	if p.Planner != nil {
		return func(yield func([]byte, error) bool) { yield(Payload{}.encode()) }
	}
	return func(yield func([]byte, error) bool) {
		count := int64(0)
		for in, err := range p.spec.Inputs(ctx) {
			var line []byte
			if err == nil {
				count++
				line, err = p.payload(ctx, in, p.Chosen(count-1) && (p.resumed == nil || !p.resumed(count-1)))
			}
			if err == nil && count > p.Rows {
				err = ErrInputsChanged
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(line, nil) {
				return
			}
		}
		if count < p.Rows {
			yield(nil, ErrInputsChanged)
		}
	}
}

// Openings returns the openings of the prompts of a random choice of the jobs, see [Compiled.Opening].
func (p *Prepared) Openings() []string { return p.sample.Openings(p.Jobs, p.names) }

// Resumed stops [Compiled.Payloads] from looking up earlier results for jobs for which have is true. These jobs keep
// their result.
func (p *Prepared) Resumed(have func(index int64) bool) { p.resumed = have }

func (p *Prepared) payload(ctx context.Context, in Input, reuse bool) ([]byte, error) {
	if in.Bad == "" {
		names := make([]string, len(p.fields))
		for i, field := range p.fields {
			names[i] = p.names[field]
		}
		in.Bad = noValueFor(missingFrom(in, names))
	}
	if in.Bad == "" {
		_, in.Bad = p.spec.rows.idOf(in.Fields)
	}
	if in.Bad != "" {
		return p.bad(in, in.Bad)
	}
	for name, want := range p.constants {
		value, _, ok := lookup(in.Fields, name)
		if !ok {
			return p.bad(in, noValueFor([]string{name}))
		}
		text, err := appendValue(nil, value)
		if err != nil {
			return nil, fmt.Errorf("%s: field %q: %w", in.Where, name, err)
		}
		if string(text) != want {
			return nil, fmt.Errorf("%s: %w", in.Where, ErrInputsChanged)
		}
	}
	job := Payload{Input: make(map[string]any, len(p.fields))}
	for _, field := range p.fields {
		job.Input[field], _, _ = lookup(in.Fields, p.names[field])
	}
	p.spec.rows.describe(&job, in.Fields, p.Jobs.Agent != nil, p.Jobs.Carry, p.names)
	job.Row = p.spec.rowHash(in.Fields)
	if p.twins != nil {
		hash, err := hashOf(in.Fields, p.used)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", in.Where, err)
		}
		job.Twin = p.twins.has(hash)
	}
	if reuse {
		var err error
		if job.Reuse, err = p.reuse.offer(ctx, p.Jobs, &job); err != nil {
			return nil, fmt.Errorf("%s: %w", in.Where, err)
		}
	}
	return job.encode()
}

// bad returns the payload of a job whose input cannot be used.
func (p *Prepared) bad(in Input, reason string) ([]byte, error) {
	job := Payload{Bad: in.Where + ": " + reason, Row: p.spec.rowHash(in.Fields)}
	p.spec.rows.describe(&job, in.Fields, p.Jobs.Agent != nil, p.Jobs.Carry, p.names)
	return job.encode()
}
