package sqltool

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An accepted statement begins with a reading word, has no NUL, and ends with nothing but comments.
func FuzzReadStatement(f *testing.F) {
	for _, s := range []string{"SELECT 1;", "select ';' -- x", "/* a */ WITH a AS (SELECT 1) SELECT 2", "SELECT 1; DROP TABLE a", "'", "VALUES (1)", "SELECT \"a;b\"", "--\rDROP"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := readStatement(text)
		if err != nil {
			return
		}
		require.True(t, strings.HasPrefix(text, out))
		again, err := readStatement(out)
		require.NoError(t, err)
		require.Equal(t, out, again)
	})
}
