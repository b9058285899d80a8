package statestore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestScriptsNameTheirParts checks that each Lua file names the parts whose functions and variables it uses, and no others. Redis
// reports a missing function only when a script calls it.
func TestScriptsNameTheirParts(t *testing.T) {
	t.Parallel()
	parts, err := filepath.Glob("lua/part/*.lua")
	require.NoError(t, err)
	scripts, err := filepath.Glob("lua/*.lua")
	require.NoError(t, err)
	defined := map[string]string{} // name -> its part
	for _, file := range parts {
		part := strings.TrimSuffix(filepath.Base(file), ".lua")
		for _, m := range regexp.MustCompile(`(?m)^local (?:function )?(\w+)`).FindAllStringSubmatch(code(t, file), -1) {
			assert.NotContains(t, defined, m[1], "%s", file)
			defined[m[1]] = part
		}
	}
	for _, file := range append(parts, scripts...) {
		text := code(t, file)
		used := map[string]bool{}
		for name, part := range defined {
			if strings.TrimSuffix(filepath.Base(file), ".lua") == part && filepath.Dir(file) == "lua/part" {
				continue
			}
			if regexp.MustCompile(`(^|[^\w.:'])` + name + `($|[^\w'])`).MatchString(text) {
				used[part] = true
				assert.NotRegexp(t, fmt.Sprintf(`(?m)local (function )?%s\b`, name), text, "%s hides %s of part %s", file, name, part)
			}
		}
		named := map[string]bool{}
		if m := regexp.MustCompile(`(?m)^-- Parts: (.+)$`).FindStringSubmatch(read(t, file)); m != nil {
			for name := range strings.SplitSeq(m[1], ", ") {
				named[name] = true
			}
		}
		assert.Equal(t, used, named, "the line -- Parts: of %s", file)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// code returns a file without its comments.
func code(t *testing.T, file string) string {
	t.Helper()
	return regexp.MustCompile(`--.*`).ReplaceAllString(read(t, file), "")
}
