package spec

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// OnBadInput is the effect of an unusable input on a submit.
type OnBadInput string

// The choices. Both report every bad input.
const (
	Fail OnBadInput = "fail" // nothing is submitted
	Skip OnBadInput = "skip" // its job fails as BadInput, without a model call
)

// Spec is a valid spec file; its inputs have not been read. The caller must close it. It is not safe for concurrent use.
type Spec struct {
	Path       string // as passed to Load
	Backend    string // URL; "" if the spec names none
	OnBadInput OnBadInput
	// Hints are probable mistakes in the spec, one sentence each, with their place.
	Hints []string

	settings Compiled  // everything except System and Task
	planner  *Compiled // makes the inputs; nil if they come from elsewhere
	reduce   *Compiled
	system   prompt
	task     prompt
	hoist    bool
	rows     rowRules // connects results with the user's rows
	literal  bool     // braces without a field's name are text, and are not reported
	preloads []preloaded
	// arguments are the texts in the arguments of preloads.
	arguments []*prompt
	inputs    source   // nil if a plan makes them
	items     []string // names that the items of a plan may have, if knowsItems
	// knowsItems reports that the schema of the plan names the fields of its items.
	knowsItems bool
}

// LoadOptions are the settings for a spec that are not in its file.
type LoadOptions struct {
	// ToolsRoot is the folder that the read_file tool sees. The field "path" of globbed inputs is relative to it if the
	// glob's root is in it. Defaults to the current directory.
	ToolsRoot string
	// Stdin is read for inputs from standard input. Defaults to os.Stdin.
	Stdin io.Reader
	// Inputs, if set, are the inputs. The spec must then have none.
	Inputs Records
	// Earlier reads the results of another batch for a spec that has them as inputs. With nil, such a spec is a mistake.
	Earlier func(Earlier) Records
	// Object copies an object such as s3://bucket/key to w, and returns its version, for a spec that has it as inputs. With nil, such a
	// spec is a mistake.
	Object func(ctx context.Context, url string, w io.Writer) (version string, err error)
}

// Load reads the spec file at path, and the prompt and schema files that it names. It checks everything that does not
// depend on the inputs. It returns all mistakes in the files at once, as [Errors].
func Load(path string, opts LoadOptions) (*Spec, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case extYAML, extYML, extJSON:
	default:
		return nil, Errors{{File: path, Message: "a spec is a .yaml, .yml or .json file"}}
	}
	data, err := strictyaml.ReadBounded(path, maxSpecBytes)
	if err != nil {
		return nil, Errors{{File: path, Message: err.Error()}}
	}
	return parse(path, data, opts, false)
}

// Parse reads a spec received over the API. The spec must not name files, because they would be files of the server. It
// contains its prompts and schema. Its inputs are in it or come from opts.Stdin; a spec without the field inputs reads
// opts.Stdin as JSON lines. name is the name of the spec in messages, and ends in .yaml, .yml or .json. All mistakes are
// returned at once, as [Errors].
func Parse(name string, data []byte, opts LoadOptions) (*Spec, error) {
	if len(data) > maxSpecBytes {
		return nil, Errors{{File: name, Message: fmt.Sprintf("a spec is at most %d MiB; send large inputs after the spec", maxSpecBytes>>20)}}
	}
	if opts.Stdin == nil {
		opts.Stdin = strings.NewReader("")
	}
	return parse(name, data, opts, true)
}

// Takes reports whether the spec takes its inputs from LoadOptions.Stdin.
func (s *Spec) Takes() bool {
	_, ok := s.inputs.(*stdinSource)
	return ok
}

// maxSpecBytes limits the spec file, and each prompt and schema file.
const maxSpecBytes = strictyaml.MaxBytes

func parse(path string, data []byte, opts LoadOptions, sent bool) (*Spec, error) {
	if !utf8.Valid(data) {
		return nil, Errors{{File: path, Message: errNotUTF8.Error()}}
	}
	doc, top := strictyaml.Parse(path, data, meanings)
	if top == nil {
		return nil, doc.Errs.OrNil()
	}
	return read(doc, top, opts, sent)
}

// read reads the fields of a spec from the nodes of a document.
func read(doc *strictyaml.Reader, top ast.Node, opts LoadOptions, sent bool) (*Spec, error) {
	if opts.Stdin == nil {
		opts.Stdin = os.Stdin
	}
	toolsRoot, err := filepath.Abs(opts.ToolsRoot)
	if err != nil {
		return nil, fmt.Errorf("find the current directory: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(doc.File))
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", doc.File, err)
	}
	l := &loader{
		Reader: doc, dir: dir, toolsRoot: toolsRoot, stdin: opts.Stdin, sent: sent, earlier: noEarlier,
		spec: &Spec{Path: doc.File, OnBadInput: Fail, hoist: true, settings: defaults(doc.File)},
	}
	if opts.Earlier != nil {
		l.earlier = opts.Earlier
	}
	l.object = opts.Object
	if opts.Inputs != nil {
		l.given = &recordSource{records: opts.Inputs}
	}
	l.load(top)
	if err := l.Errs.OrNil(); err != nil {
		return nil, err
	}
	return l.spec, nil
}

func defaults(path string) Compiled {
	return Compiled{
		Name:        strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)),
		MaxTurns:    8,
		MaxRetries:  3,
		MaxAttempts: 3,
		Timeouts:    Timeouts{Turn: 10 * time.Minute, Tool: time.Minute},
		TTL:         7 * 24 * time.Hour,
	}
}

// Inputs returns the inputs in order. An unusable input has Bad set. An error means that the source cannot be read, and
// ends the sequence. The content of globbed files is read only if a prompt uses it.
func (s *Spec) Inputs(ctx context.Context) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		index := int64(0)
		for in, err := range s.inputs.read(ctx, s.uses) {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Input{}, err)
				return
			}
			in.Index = index
			index++
			if !yield(in, nil) {
				return
			}
		}
	}
}

func (s *Spec) uses(field string) bool {
	return s.settings.Agent != nil || s.rows.uses(field) || slices.ContainsFunc(s.prompts(), func(p prompt) bool { return p.uses(field) })
}

// notes returns the messages of the last read of the inputs.
func (s *Spec) notes() []string {
	if n, ok := s.inputs.(interface{ noted() []string }); ok {
		return n.noted()
	}
	return nil
}

// Close removes the copy of standard input, if one was made.
func (s *Spec) Close() error {
	if in, ok := s.inputs.(interface{ close() error }); ok {
		return in.close()
	}
	return nil
}

// loader reads the fields of a spec into spec.
type loader struct {
	*strictyaml.Reader
	dir       string // absolute: the spec's folder
	toolsRoot string // absolute
	stdin     io.Reader
	sent      bool // received over the API: the spec may not read files here
	earlier   func(Earlier) Records
	object    func(context.Context, string, io.Writer) (string, error)
	given     source // replaces the field inputs, unless nil
	spec      *Spec

	keepPreamble bool
	workFolder   *Workspace // nil if the spec has none
	turnsGiven   bool       // the spec has max_turns
	schema       schemaText
	priced       []inMoney
	// Prompts of the stages. They are checked once all fields are read.
	planText, reduceText stageText
}

func (l *loader) load(top ast.Node) {
	before := len(l.Errs)
	l.Fields("", top, l.fields()...)
	if _, isMapping := top.(ast.MapNode); !isMapping && len(l.Errs) > before {
		return // the mistake, that it is no mapping, is already recorded
	}
	l.finishSystem()
	l.needPrices()
	l.finishPreloads()
	l.finishAgent(top)
	l.finishIdentical(top)
	if !l.spec.task.given {
		l.require(top, "task")
	}
	planned := l.spec.planner != nil || l.noted(planField)
	if l.spec.inputs == nil && l.sent && l.given == nil && !planned && !l.noted(inputsField) {
		l.spec.inputs = l.stream(formatJSONL, 0)
	}
	switch {
	case planned && (l.given != nil || l.spec.inputs != nil):
		l.Failf(top, inputsField, "the inputs are the items of the plan; leave out %s or %s", inputsField, planField)
	case planned:
	case l.given != nil && l.spec.inputs != nil:
		l.Failf(top, inputsField, "inputs come from the program and from the spec; remove one of them")
	case l.given != nil:
		l.spec.inputs = l.given
	case l.spec.inputs == nil:
		l.require(top, inputsField)
	}
	if l.spec.planner != nil {
		l.finishRows(top)
		l.finishPlanner()
	}
	if l.spec.reduce != nil {
		l.finishReduce()
	}
}

// require records that a field is missing, unless a mistake in the field was recorded.
func (l *loader) require(top ast.Node, field string) {
	if !l.noted(field) {
		l.Failf(top, field, "is required")
	}
}

// noted reports whether a mistake in a field was recorded.
func (l *loader) noted(field string) bool {
	return slices.ContainsFunc(l.Errs, func(e *FieldError) bool { return strings.HasPrefix(e.Field, field) })
}

// mayRead reports whether the spec may name a file, and records a mistake if not.
func (l *loader) mayRead(field string, n ast.Node, file string) bool {
	if l.sent {
		l.Failf(n, field, "names %q, which would be a file of the server; put texts and schema into a spec that you send, and the inputs after it", file)
	}
	return !l.sent
}

// stream returns the source for inputs that come from a stream.
func (l *loader) stream(f format, delimiter rune) *stdinSource {
	s := &stdinSource{stream: l.stdin, format: f, delimiter: delimiter, name: stdinName}
	if l.sent {
		s.name = inputsField
	}
	return s
}
