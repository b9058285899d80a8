package spec

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder writes files, named by slash paths, into a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

// load reads batch.yaml in a new folder that also holds the other files.
func load(t *testing.T, yaml string, files map[string]string, opts LoadOptions) (*Spec, error) {
	t.Helper()
	all := map[string]string{"batch.yaml": yaml}
	maps.Copy(all, files)
	dir := folder(t, all)
	s, err := Load(filepath.Join(dir, "batch.yaml"), opts)
	if s != nil {
		t.Cleanup(func() { require.NoError(t, s.Close()) })
	}
	return s, plain(err, dir)
}

// compile loads and compiles.
func compile(t *testing.T, yaml string, files map[string]string, opts LoadOptions) (*Prepared, error) {
	t.Helper()
	s, err := load(t, yaml, files, opts)
	require.NoError(t, err)
	p, err := s.Prepare(t.Context())
	return p, plain(err, filepath.Dir(s.Path))
}

// plain removes the test's folder from the names of files in an error.
func plain(err error, dir string) error {
	if err == nil {
		return nil
	}
	return &plainError{err: err, dir: dir + string(filepath.Separator)}
}

type plainError struct {
	err error
	dir string
}

func (e *plainError) Error() string { return strings.ReplaceAll(e.err.Error(), e.dir, "") }
func (e *plainError) Unwrap() error { return e.err }

// collect reads all inputs of a spec.
func collect(ctx context.Context, t *testing.T, s *Spec) []Input {
	t.Helper()
	var out []Input
	for in, err := range s.Inputs(ctx) {
		require.NoError(t, err)
		out = append(out, in)
	}
	return out
}

// rowOf matches the hash of a row in a payload.
var rowOf = regexp.MustCompile(`"row":"[\w-]*",|,"row":"[\w-]*"`)

// payloads reads all payloads, as text, without the hashes of their rows.
func payloads(t *testing.T, p *Prepared) []string {
	t.Helper()
	var out []string
	for p, err := range p.Payloads(t.Context()) {
		require.NoError(t, err)
		out = append(out, rowOf.ReplaceAllString(string(p), ""))
	}
	return out
}

// dir is the folder of a spec that load wrote.
func (s *Spec) dir() string { return filepath.Dir(s.Path) }
