package operation

import (
	"context"
	"io"
	"os"
	"os/user"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/s3"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// SubmitOptions configure a submission.
type SubmitOptions struct {
	Spec      string // path
	Owner     string // defaults to the spec's owner, then the user of the operating system
	ToolsRoot string // directory of globbed inputs for the workers' read_file
	Reuse     string // take results of an earlier batch: a batch ID, [ReuseOwner], or a results file; "" runs every job
	Select    Selection
	Rerun     Rerun // rows of an earlier batch that run again; the zero value runs all rows
	Durable   bool  // make Submit wait until the batch survives a loss of its Redis server
	Stdin     io.Reader
	// Connect opens Redis for a spec that takes another batch's results as inputs. It may be called several times and must
	// return the same store, which the caller closes. If it is nil, such a spec is an error.
	Connect func(context.Context) (*statestore.Store, error)
	Getenv  func(string) string // of the credentials for inputs in a store of objects; nil is os.Getenv
	Notify  notice.Func         // receives warnings, now and during [Submission.Submit]
}

// Prepare validates the spec and all its inputs and submits nothing. It needs Redis only if the inputs are in Redis.
// The caller closes the Submission.
func Prepare(ctx context.Context, o SubmitOptions) (*Submission, error) {
	if err := o.Rerun.check(); err != nil {
		return nil, err
	}
	s, prepared, err := LoadSpec(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, compiled := range []*spec.Compiled{prepared.Jobs, prepared.Planner} {
		if compiled == nil {
			continue
		}
		if err := mayRun(compiled); err != nil {
			_ = s.Close()
			return nil, &fault.UsageError{Err: err}
		}
	}
	sendChosen(prepared, o.Select, o.Notify)
	sub := NewSubmission(s, prepared, o.Notify)
	sub.durable, sub.ReuseFrom, sub.Rerun, sub.selected = o.Durable, o.Reuse, o.Rerun, o.Select
	return sub, nil
}

// sendChosen explains the indexes of a random choice of rows.
func sendChosen(p *spec.Prepared, selected Selection, notify notice.Func) {
	if p.Total < p.Rows && selected.Sample > 0 {
		notify.Send(notice.Spec, "%s of %s rows are submitted; index counts them, so that index 0 is the first chosen row",
			human.Count(p.Total), human.Count(p.Rows))
	}
}

// NewSubmission returns the submission of a validated spec. It sends the number of bad inputs.
func NewSubmission(s *spec.Spec, prepared *spec.Prepared, notify notice.Func) *Submission {
	SendBadInputs(prepared, notify)
	return &Submission{load: contentOf(s, prepared), Total: prepared.Total, Rows: prepared.Rows, notify: notify}
}

// LoadSpec reads and validates a spec and all its inputs. The caller closes the Spec.
func LoadSpec(ctx context.Context, o SubmitOptions) (*spec.Spec, *spec.Prepared, error) {
	s, err := spec.Load(o.Spec, spec.LoadOptions{ToolsRoot: o.ToolsRoot, Stdin: o.Stdin, Earlier: earlier.Inputs(o.Connect, o.Notify), Object: fetchObject(o.Getenv)})
	if err != nil {
		return nil, nil, InputError(err)
	}
	p, err := Compile(ctx, s, o.Owner)
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	if err := o.Select.Apply(p); err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	SendNotes(s, p, o.Notify)
	return s, p, nil
}

// fetchObject returns a function that copies an object of the store that the environment describes.
func fetchObject(getenv func(string) string) func(context.Context, string, io.Writer) (string, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	return func(ctx context.Context, url string, w io.Writer) (string, error) {
		name, err := s3.Parse(url)
		if err != nil {
			return "", err
		}
		c, err := s3.FromEnv(getenv)
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.Fetch(ctx, name, w)
	}
}

// SendNotes sends the decisions about a spec that its author did not make, and hints at likely mistakes.
func SendNotes(s *spec.Spec, p *spec.Prepared, notify notice.Func) {
	for _, note := range p.Notes {
		notify.Send(notice.Spec, "%s", note)
	}
	for _, hint := range s.Hints {
		notify.Send(notice.SpecHint, "%s", hint)
	}
}

// Compile reads all inputs. A non-empty owner overrides the spec's. Without either, the owner is the user of the
// operating system.
func Compile(ctx context.Context, s *spec.Spec, owner string) (*spec.Prepared, error) {
	p, err := s.Prepare(ctx)
	if err != nil {
		return nil, InputError(err)
	}
	switch {
	case owner != "":
		p.Jobs.Owner = owner
	case p.Jobs.Owner == "":
		if u, err := user.Current(); err == nil {
			p.Jobs.Owner = u.Username
		}
	}
	ownStages(p.Jobs, p.Planner, p.Reducer)
	return p, nil
}

// ownStages copies the owner of a batch to its stages. Nil stages are skipped.
func ownStages(of *spec.Compiled, stages ...*spec.Compiled) {
	for _, stage := range stages {
		if stage != nil {
			stage.Owner = of.Owner
		}
	}
}

// SendBadInputs sends the number of inputs that no job can use.
func SendBadInputs(p *spec.Prepared, notify notice.Func) {
	if p.BadCount > 0 {
		of := ""
		if p.Total < p.Rows {
			of = " of all rows"
		}
		notify.Send(notice.BadInputs, "%s%s cannot be used and will fail as BadInput; the first is %s: %s",
			human.Plural(p.BadCount, "input", "inputs"), of, p.Bad[0].Where, p.Bad[0].Bad)
	}
}

// InputError marks an error as the user's: nothing was submitted.
func InputError(err error) error {
	if fault.IsUsage(err) {
		return err
	}
	return &fault.UsageError{Err: err}
}
