package anthropic

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// An endless answer ends with an error after a limited number of bytes.
func TestAnswersWithoutEndAreGivenUp(t *testing.T) {
	begin := "event: message_start\ndata: " + begin + "\n\n"
	for name, e := range map[string]*backendtest.Endless{
		"refusal":        {Status: 400, Type: "application/json", First: `{"error":{"message":"`, Piece: "x"},
		"page":           {Status: 502, Type: "text/html", Piece: "<p>x"},
		"no stream":      {Status: 200, Type: "application/json", First: `{"a":"`, Piece: "x"},
		"line":           {Status: 200, Type: "text/event-stream", First: "data: ", Piece: "x"},
		"event of lines": {Status: 200, Type: "text/event-stream", Piece: "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"},
		"text": {Status: 200, Type: "text/event-stream", First: begin + "event: content_block_start\ndata: " + textOn + "\n\n",
			Piece: "event: content_block_delta\ndata: " + text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") + "\n\n"},
	} {
		b, err := New(Config{URL: "anthropic://", Getenv: func(string) string { return "sk-ant-test-0123456789" }, Transport: e})
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.Error(t, err, name)
		assert.NotEmpty(t, backend.ClassOf(err), name)
		assert.Less(t, e.Bytes, 80<<20, name)
		assert.NoError(t, b.Close())
	}
}
