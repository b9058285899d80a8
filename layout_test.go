package batchagent_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/batchagent/batchagent/"

// mayImport names, for every package under pkg/ that has a rule, which packages of this module its non-test code may
// import. A trailing "/" allows a whole folder.
var mayImport = map[string][]string{
	"pkg/batch":            {},
	"pkg/jsonschema":       {"pkg/plainjson"},
	"pkg/spec":             {"pkg/batch", "pkg/jsonschema", "pkg/plainjson"},
	"pkg/statestore":       {"pkg/batch"},
	"pkg/scheduler":        {"pkg/batch"},
	"pkg/toolpool":         {"pkg/batch", "pkg/jsonschema", "pkg/plainjson", "pkg/redact", "pkg/retryafter", "pkg/sleep", "pkg/toolpool/"},
	"pkg/retryafter":       {},
	"pkg/toolpool/shared":  {"pkg/sleep", "pkg/toolpool"},
	"pkg/backend":          {"pkg/batch"},
	"pkg/backend/endpoint": {"pkg/loopback", "pkg/redact"},
	"pkg/redact":           {},
	"pkg/vllmsim":          {"pkg/loopback", "pkg/sleep", "pkg/vllmsim/"},
	"pkg/loopback":         {},
	"pkg/plainjson":        {},
	"pkg/sleep":            {},
	"pkg/modeljson":        {},
	"pkg/agent":            {"pkg/batch", "pkg/jsonschema", "pkg/modeljson", "pkg/spec", "pkg/backend", "pkg/sleep", "pkg/toolpool", "pkg/toolpool/schema"},
}

// TestLayout checks the import rules of ARCHITECTURE.md.
func TestLayout(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := map[string]bool{}
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		require.NoError(t, dec.Decode(&p))
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		for _, forbidden := range []string{"util", "common", "types", "helpers"} {
			assert.NotContains(t, strings.Split(name, "/"), forbidden, "%s: name a package after what it does", name)
		}
		switch name {
		case "internal/operation", "internal/collect", "internal/earlier", "internal/localrun", "internal/diagnose":
			assert.NotContains(t, p.Imports, module+"internal/terminal", "%s prints nothing", name)
		}
		allowed, ruled := mayImport[name]
		for _, imported := range p.Imports {
			if rest, ours := strings.CutPrefix(imported, module); ours {
				if ruled {
					assert.True(t, permits(allowed, rest), "%s imports %s", name, rest)
				}
				if strings.HasPrefix(name, "pkg/") {
					assert.False(t, strings.HasPrefix(rest, "internal/"), "%s imports %s", name, rest)
				}
				if !testOnly(name) {
					assert.False(t, testOnly(rest), "%s is for tests, but %s imports it", rest, name)
				}
			} else if name == "pkg/batch" {
				assert.False(t, strings.Contains(strings.Split(imported, "/")[0], "."), "pkg/batch imports %s; it may import only the standard library", imported)
			}
		}
	}
	assert.False(t, seen["internal/coordinator"], "the package was divided")
	for name := range mayImport {
		assert.True(t, seen[name], "%s has a rule but does not exist", name)
	}
}

func permits(allowed []string, name string) bool {
	for _, a := range allowed {
		if name == a || strings.HasSuffix(a, "/") && strings.HasPrefix(name, a) {
			return true
		}
	}
	return false
}

func testOnly(name string) bool {
	switch name {
	case "internal/sim", "internal/testredis", "internal/e2e", "internal/flagtest", "internal/processkit", "pkg/backend/backendtest":
		return true
	}
	return strings.HasPrefix(name, "bench/")
}
