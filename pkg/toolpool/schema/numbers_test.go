package schema_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, text, want string }{
		{`{"maximum":10000000000000000000}`, `10000000000000000001`, `maximum: got 10000000000000000001, want 10000000000000000000`},
		{`{"minimum":9007199254740993}`, `9007199254740992`, `minimum: got 9007199254740992, want 9007199254740993`},
		{`{"exclusiveMaximum":0.3}`, `0.30000000000000000001`, `exclusiveMaximum: got 0.30000000000000000001, want less than 0.3`},
		{`{"exclusiveMinimum":9007199254740993}`, `9007199254740993`, `exclusiveMinimum: got 9007199254740993, want more than 9007199254740993`},
		{`{"multipleOf":0.01}`, `12345678901234567890.005`, `multipleOf: got 12345678901234567890.005, want a multiple of 0.01`},
		{`{"maximum":1}`, strings.Repeat("7", 100), `maximum: got ` + strings.Repeat("7", 30) + "…" + strings.Repeat("7", 30) + `, want 1`},
		{`{"const":9007199254740993}`, `9007199254740992`, `value must be 9007199254740993`},
		{`{"enum":[9007199254740993,1]}`, `9007199254740992`, `value must be one of 9007199254740993, 1`},
		{`{"enum":[9007199254740993,1]}`, `1.0`, ``},
		{`{"uniqueItems":true}`, `[9007199254740993,9007199254740992]`, ``},
		{`{"uniqueItems":true}`, `[9007199254740993,9007199254740993.0]`, `items at 0 and 1 are equal`},
		{`{"type":"integer"}`, `9007199254740993.5`, `got number, want integer`},
	} {
		s, err := schema.Compile([]byte(c.schema))
		require.NoError(t, err)
		err = s.Check([]byte(c.text))
		if c.want == "" {
			assert.NoError(t, err, c.text)
			continue
		}
		assert.EqualError(t, err, c.want)
	}
}
