package bedrock

import (
	"testing"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

func TestReasoningIsSentBack(t *testing.T) {
	cases := []struct {
		name, text string
		noStreams  bool
		marks      []string
	}{
		{"streamed", "I need it.", false, []string{
			`{"reasoningContent":{"reasoningText":{"signature":"sig(I need it.)","text":"I need it."}}},{"reasoningContent":{"redactedContent":"AP8B"}},{"text":"Let me look."}`}},
		{"whole", "hm", true, []string{`{"reasoningContent":{"reasoningText":{"signature":"sig(hm)","text":"hm"}}},{"reasoningContent":{"redactedContent":"AP8B"}},{"toolUse"`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			backendtest.RunReasoning(t, func(t *testing.T) backendtest.Thinker {
				b, f := openFake(t)
				f.thinks, f.noStreams = true, c.noStreams
				return backendtest.Thinker{
					Backend: b, Model: fakeModel, Protocol: backend.ProtocolBedrock, Text: c.text, Marks: c.marks,
					Sent: func() []string {
						var out []string
						for _, a := range f.requests() {
							out = append(out, a.raw)
						}
						return out
					},
					Refuse: func() { f.noReasoning = true },
				}
			})
		})
	}
}
