package endpoint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
)

const secretKey = "sk-0123456789abcdef"

// observed collects what an observer is called with.
type observed struct {
	text, reasoning strings.Builder
	log             []string
}

func (o *observed) observer() backend.Observer {
	return KeyInPieces(secretKey).Observer(backend.Observer{
		Text: func(piece string) {
			o.text.WriteString(piece)
			o.log = append(o.log, "text "+piece)
		},
		Reasoning: func(piece string) {
			o.reasoning.WriteString(piece)
			o.log = append(o.log, "reasoning "+piece)
		},
		ReasoningBlock: func(p backend.Protocol, b backend.ReasoningBlock) {
			o.log = append(o.log, "block "+string(p)+" "+b.Signature)
		},
		ToolCall: func(_ int, c backend.ToolCall) { o.log = append(o.log, "call "+c.Arguments) },
	})
}

// TestKeyInPiecesIsRedacted checks that a key never reaches an observer, and that the pieces are the beginning of the redacted answer.
func TestKeyInPiecesIsRedacted(t *testing.T) {
	t.Parallel()
	for size := 1; size <= len(secretKey); size++ {
		got := &observed{}
		o := got.observer()
		whole := "the key is " + secretKey + ", the start of one is sk-0123"
		for rest := whole; rest != ""; {
			n := min(size, len(rest))
			o.Text(rest[:n])
			rest = rest[n:]
		}
		resp, err := KeyInPieces(secretKey).Answer(&backend.Response{Message: backend.Message{Content: whole, Reasoning: &backend.Reasoning{Text: whole}}}, nil)
		assert.NoError(t, err)
		assert.True(t, strings.HasPrefix(resp.Message.Content, got.text.String()), "%q", got.text.String())
		assert.Contains(t, got.text.String(), "the key is [secret], ")
	}
}

// TestKeyBetweenOtherPiecesIsNotReported checks that a server cannot hide a key by sending something else between its pieces.
func TestKeyBetweenOtherPiecesIsNotReported(t *testing.T) {
	t.Parallel()
	for size := 1; size < len(secretKey); size++ {
		got := &observed{}
		o := got.observer()
		for rest := "a " + secretKey + " b"; rest != ""; {
			n := min(size, len(rest))
			o.Text(rest[:n])
			o.Reasoning(rest[:n])
			o.ToolCall(0, backend.ToolCall{})
			rest = rest[n:]
		}
		assert.NotContains(t, got.text.String(), secretKey)
		assert.NotContains(t, got.reasoning.String(), secretKey)
	}
}

// TestBlocksEndTheirText checks that text that may start a key is reported before something else begins.
func TestBlocksEndTheirText(t *testing.T) {
	t.Parallel()
	got := &observed{}
	o := got.observer()
	o.Reasoning("a sk-01")
	o.ReasoningBlock(backend.ProtocolAnthropic, backend.ReasoningBlock{Bytes: 7, Signature: "sig"})
	o.Reasoning("key " + secretKey)
	o.ReasoningBlock(backend.ProtocolAnthropic, backend.ReasoningBlock{Bytes: 23, Signature: "sig"})
	o.Reasoning("s")
	o.Text("t sk")
	o.Reasoning("not reported: it might complete a key")
	o.ToolCall(0, backend.ToolCall{Arguments: secretKey})
	assert.Equal(t, []string{
		"reasoning a ", "reasoning sk-01", "block anthropic sig", "reasoning key [secret]", "block  ", "reasoning s", "text t ", "text sk", "call [secret]",
	}, got.log)
}

// TestNoKeyChangesNothing checks that pieces pass through without a key.
func TestNoKeyChangesNothing(t *testing.T) {
	t.Parallel()
	var got []string
	o := KeyInPieces("").Observer(backend.Observer{Text: func(piece string) { got = append(got, piece) }})
	o.Text("a")
	o.Text("b")
	assert.Equal(t, []string{"a", "b"}, got)
	assert.Nil(t, o.Reasoning)
}
