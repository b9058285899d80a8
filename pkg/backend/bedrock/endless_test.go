package bedrock

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// An endless answer ends with an error after a limited number of bytes.
func TestAnswersWithoutEndAreGivenUp(t *testing.T) {
	for name, e := range map[string]*backendtest.Endless{
		"refusal":       {Status: 400, Type: "application/json", First: `{"message":"`, Piece: "x"},
		"page":          {Status: 500, Type: "text/html", Piece: "<p>x"},
		"stream":        {Status: 200, Type: "application/vnd.amazon.eventstream", Piece: "\x00\x00\x00\x10"},
		"stream of one": {Status: 200, Type: "application/vnd.amazon.eventstream", First: "\x7f\xff\xff\xf0\x00\x00\x00\x00", Piece: "x"},
	} {
		b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: "http://127.0.0.1:1", Credentials: credentials, Transport: e})
		require.NoError(t, err)
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.Error(t, err, name)
		assert.NotEmpty(t, backend.ClassOf(err), name)
		assert.Less(t, e.Bytes, 40<<20, name)
		assert.NoError(t, b.Close())
	}
}
