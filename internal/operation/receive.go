package operation

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// maxJobLine limits one job line of a received batch. An input has at most 16 MiB and may be escaped.
const maxJobLine = 18 << 20

// Sent is a batch received over a network: a spec, or one that the sender compiled, and its inputs or jobs.
type Sent struct {
	Spec []byte // YAML or JSON; must not name files
	Name string // display name of the spec; ends in .yaml or .json
	Plan []byte // JSON of a [spec.Compiled]; nil with a spec
	// Planner and Reduce are the plans of the batch's stages if Plan is set. Nil means that the stage is missing. With
	// a Planner no jobs follow.
	Planner, Reduce []byte
	// Inputs are the spec's inputs, as JSON lines by default, or the jobs, one [spec.Payload] per line. They are
	// copied to a temporary file as they arrive, so that memory does not grow with them.
	Inputs io.Reader
	Owner  string // default for a spec without an owner
	Select Selection
	Rerun  Rerun
}

// Receive validates everything that was sent, the same as [Prepare] does with files. store has the results of earlier batches that the
// spec may name. The caller closes the Submission.
func Receive(ctx context.Context, sent Sent, store *statestore.Store, notify notice.Func) (*Submission, error) {
	s, err := receive(ctx, sent, store, notify)
	if err != nil || sent.Rerun == (Rerun{}) {
		return s, err
	}
	if err := s.KeepRows(ctx, sent.Rerun, store); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func receive(ctx context.Context, sent Sent, store *statestore.Store, notify notice.Func) (*Submission, error) {
	if sent.Plan != nil {
		return receivePlan(ctx, sent, notify)
	}
	connect := func(context.Context) (*statestore.Store, error) { return store, nil }
	s, err := spec.Parse(sent.Name, sent.Spec, spec.LoadOptions{Stdin: sent.Inputs, Earlier: earlier.Inputs(connect, notify)})
	if err != nil {
		return nil, InputError(err)
	}
	prepared, err := s.Prepare(ctx)
	if err == nil && !s.Takes() {
		err = nothingMore(sent.Inputs)
	}
	if err == nil {
		err = sent.Select.Apply(prepared)
	}
	if err != nil {
		return nil, errors.Join(InputError(err), s.Close())
	}
	sendChosen(prepared, sent.Select, notify)
	prepared.Jobs.Owner = cmp.Or(prepared.Jobs.Owner, sent.Owner)
	ownStages(prepared.Jobs, prepared.Planner, prepared.Reducer)
	SendNotes(s, prepared, notify)
	return NewSubmission(s, prepared, notify), nil
}

// nothingMore returns an error if r holds inputs, because they would be ignored.
func nothingMore(r io.Reader) error {
	for in := bufio.NewReader(r); ; {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the body after the spec: %w", err)
		case len(bytes.TrimSpace([]byte{b})) > 0:
			return fault.Usagef(`the spec holds its inputs, and more inputs came after it; remove one of them`)
		}
	}
}

func receivePlan(ctx context.Context, sent Sent, notify notice.Func) (*Submission, error) {
	o, err := receiveStages(sent)
	if err != nil {
		return nil, &fault.UsageError{Err: err}
	}
	if o.Planner != nil {
		if err := nothingMore(sent.Inputs); err != nil {
			return nil, InputError(err)
		}
		return &Submission{load: o, notify: notify}, nil
	}
	spool, err := os.CreateTemp("", "batchagent-jobs-*")
	if err != nil {
		return nil, fmt.Errorf("spool the jobs: %w", err)
	}
	drop := func() error { return errors.Join(spool.Close(), os.Remove(spool.Name())) }
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(spool, sum), sent.Inputs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool the jobs: %w", err), drop())
	}
	o.payloads = func(ctx context.Context) iter.Seq2[[]byte, error] {
		return jobLines(ctx, io.NewSectionReader(spool, 0, size))
	}
	o.fingerprint = func() (string, error) { return sent.fingerprint(fmt.Sprintf("%d %x", size, sum.Sum(nil))), nil }
	o.close = drop
	var sample spec.Sample
	for payload, err := range o.payloads(ctx) {
		if err == nil {
			err = sample.AddPayload(o.total, payload)
		}
		if err != nil {
			return nil, errors.Join(InputError(err), drop())
		}
		o.total++
	}
	o.openings = func() []string { return sample.Openings(o.Compiled, nil) }
	if o.total == 0 {
		return nil, errors.Join(fault.Usagef("no jobs came after the plan: nothing to do"), drop())
	}
	o.rows, o.all = o.total, o.payloads
	chosen, total, err := sent.Select.choose(o.rows) // with a rerun only; otherwise the sender has chosen the jobs
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	o.chosen = chosen
	return &Submission{load: o, Total: total, notify: notify}, nil
}

// fingerprint returns a hash that is equal for the same plans with the same jobs.
func (s Sent) fingerprint(jobs string) string {
	text := fmt.Sprintf("%s\n%s", jobs, s.Plan)
	if s.Select != (Selection{}) {
		text += "\nselect " + s.Select.identity()
	}
	for _, stage := range [][]byte{s.Planner, s.Reduce} {
		if stage != nil {
			text += fmt.Sprintf("\n%d %s", len(stage), stage)
		}
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// receiveStages parses the plans of a batch and checks that a spec can produce each of them. Stages inherit priority,
// TTL and owner from the batch. If there is a planner, the returned consignment includes its one job.
func receiveStages(sent Sent) (Content, error) {
	var o Content
	for _, stage := range []struct {
		name string
		text []byte
		to   **spec.Compiled
	}{{"plan", sent.Plan, &o.Compiled}, {"planner", sent.Planner, &o.Planner}, {"reduce", sent.Reduce, &o.Reduce}} {
		if stage.text == nil {
			continue
		}
		c, err := spec.ParseCompiled(stage.text)
		if err == nil {
			err = runnable(c)
		}
		if err != nil {
			return o, fmt.Errorf("%s: %w", stage.name, err)
		}
		*stage.to = c
	}
	for _, stage := range []*spec.Compiled{o.Planner, o.Reduce} {
		if stage != nil {
			stage.Priority, stage.TTL = o.Compiled.Priority, o.Compiled.TTL
		}
	}
	ownStages(o.Compiled, o.Planner, o.Reduce)
	if o.Reduce != nil && len(o.Reduce.Tools) > 0 {
		return o, errors.New("reduce: a reducer has no tools")
	}
	if o.Planner == nil {
		return o, nil
	}
	if err := o.Planner.CheckPlanner(); err != nil {
		return o, fmt.Errorf("planner: %w", err)
	}
	o.payloads = func(context.Context) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) { yield([]byte("{}"), nil) }
	}
	o.fingerprint = func() (string, error) { return sent.fingerprint("planned"), nil }
	o.close = func() error { return nil }
	return o, nil
}

// runnable returns an error for a compiled spec that no worker can run or no spec can produce.
func runnable(compiled *spec.Compiled) error {
	if err := mayRun(compiled); err != nil {
		return err
	}
	toolless := *compiled
	toolless.Tools, toolless.Preload = nil, nil // checked against the workers' tools later
	if _, err := agent.Compile(&toolless, nil, backend.Model{}); err != nil {
		return err
	}
	if err := compiled.Sampling.CheckExtraBody(); err != nil {
		return fmt.Errorf("the plan %q: %w", compiled.Name, err)
	}
	if compiled.Order != "" && compiled.Order != spec.OrderInput {
		return fmt.Errorf("the plan %q has the order %q; it must be %q or missing", compiled.Name, compiled.Order, spec.OrderInput)
	}
	if compiled.Identical != "" && compiled.Identical != spec.IdenticalOnce {
		return fmt.Errorf("the plan %q has identical: %q; it must be %q or missing", compiled.Name, compiled.Identical, spec.IdenticalOnce)
	}
	if compiled.Plans != "" || compiled.Reduces != "" {
		return fmt.Errorf("the spec %q is a stage of another batch; its stages are sent with a batch, as planner and reduce", compiled.Name)
	}
	if compiled.MaxAttempts < 1 || compiled.TTL <= 0 {
		return fmt.Errorf("the spec %q has max_attempts %d and ttl %s; both must be above 0", compiled.Name, compiled.MaxAttempts, compiled.TTL)
	}
	return nil
}

// sendable reports whether a line is a valid job from a sender: an input, or the reason why it is missing. If the compiled spec
// holds all values of a job, its input is empty; earlier coordinators send it as {}.
func sendable(line []byte) bool {
	payload, err := spec.DecodePayload(line)
	if err != nil || payload.Item != nil || payload.Ended != nil || payload.Reduce != nil {
		return false
	}
	return payload.Input != nil || payload.Bad != "" || string(bytes.Join(bytes.Fields(line), nil)) == "{}"
}

// jobLines yields the lines of r. Each line must be a job.
func jobLines(ctx context.Context, r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 64<<10), maxJobLine)
		for n := 1; lines.Scan(); n++ {
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if !sendable(lines.Bytes()) {
				yield(nil, fmt.Errorf(`job %d is not {"in":{…}} or {"bad":"…"}; a spec and its plain inputs are sent as {"spec":{…}}`, n))
				return
			}
			// A chunk keeps the line while the scanner reads the next one.
			if !yield(bytes.Clone(lines.Bytes()), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("read the jobs: %w", err))
		}
	}
}
