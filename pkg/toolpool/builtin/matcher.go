package builtin

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"

	"github.com/batchagent/batchagent/pkg/internal/confine"
)

// maxHere limits the work of a match in this process, in instructions times bytes: about 0.1 s. Nothing can cancel a match.
const maxHere = 5_000_000

// matchTask matches one line in its own process.
var matchTask = confine.New("match", confine.Limits{Memory: 256 << 20, CPU: 10 * time.Second}, func(in []byte) ([]byte, error) {
	var w matchWork
	if err := gob.NewDecoder(bytes.NewReader(in)).Decode(&w); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(w.Pattern)
	if err != nil {
		return nil, err
	}
	if re.Match(w.Line) {
		return []byte("match"), nil
	}
	return nil, nil
})

type matchWork struct {
	Pattern string
	Line    []byte
}

// matcher is a model's regular expression.
type matcher struct {
	re   *regexp.Regexp
	size int // instructions
}

func newMatcher(pattern string) (*matcher, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the pattern is not a regular expression in RE2 syntax: %w", err)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is not a regular expression in RE2 syntax: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the pattern is not a regular expression in RE2 syntax: %w", err)
	}
	return &matcher{re, len(program.Inst)}, nil
}

// match reports whether a line matches. An error ends the search.
func (m *matcher) match(ctx context.Context, line []byte) (bool, error) {
	if len(line)*m.size <= maxHere {
		return m.re.Match(line), nil
	}
	var in bytes.Buffer
	if err := gob.NewEncoder(&in).Encode(matchWork{m.re.String(), line}); err != nil {
		return false, fmt.Errorf("encode a line: %w", err)
	}
	out, err := matchTask.Do(ctx, in.Bytes())
	if stopped, ok := errors.AsType[*confine.StoppedError](err); ok {
		return false, fmt.Errorf("the search %w; give a simpler pattern", stopped)
	}
	return len(out) > 0, err
}
