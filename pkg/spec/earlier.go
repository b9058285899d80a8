package spec

import (
	"context"
	"errors"
	"iter"
	"os"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// Earlier describes the results of another batch that are the inputs of this one. The caller of Load reads them, because
// this package does not use Redis. An input's fields are the members of the result's output. It also has the fields
// job_id, index, status, output, error and, after a plan, item, unless the output has members of these names.
type Earlier struct {
	Batch batch.ID // "" if File is set
	File  string   // absolute path of a results file
	Shown string   // name of File in messages
	Where string   // only results that meet this condition of package filter
}

func (l *loader) earlierInputs(field string, n ast.Node, e Earlier, where string) source {
	if _, err := filter.Parse(where, filter.Options{}); err != nil {
		l.Failf(n, field+".where", "%v", err)
		return nil
	}
	e.Where = where
	if e.File != "" && !l.mayRead(field+".results", n, e.Shown) {
		return nil
	}
	if e.File == "" {
		if _, err := batch.ParseID(string(e.Batch)); err != nil {
			l.Failf(n, field+".batch", "%v", err)
			return nil
		}
	} else if _, err := os.Stat(e.File); err != nil {
		l.Failf(n, field+".results", "read %s: %v", e.Shown, strictyaml.WithoutPath(err))
		return nil
	}
	return &recordSource{records: l.earlier(e)}
}

func noEarlier(Earlier) Records {
	return func(context.Context) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			yield(Record{}, errors.New("results of another batch cannot be read here"))
		}
	}
}
