package openaichat

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// A turn with endless calls is ended: finding the call of a piece takes time in proportion to the number of calls.
func TestTurnsOfManyCallsAreGivenUp(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 60_000 {
		b.WriteString(sse(argChunk(strconv.Itoa(i), "call_"+strconv.Itoa(i), "f", `{"op":"not","arg":1}`)))
	}
	b.WriteString(sse(finishChunk("tool_calls"), usageChunk, "[DONE]"))
	r := ask()
	r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{"type":"object"}`)}}
	began := time.Now()
	_, err := answering([]byte(b.String())).Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.Degenerate, backend.ClassOf(err))
	assert.ErrorContains(t, err, "more than 1000 tool calls")
	assert.Less(t, time.Since(began), 20*time.Second)
}
