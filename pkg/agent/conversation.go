package agent

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
)

const (
	fullPercent = 85 // of the context; above it, old tool results are shortened
	shortResult = 400
	// Bytes per token, where the server has not counted the text. Added text counts as dense and removed text as sparse, so
	// that the estimate is never too low.
	bytesPerTokenIn    = 3
	bytesPerTokenSaved = 5
)

// conversation holds the messages for the model. It depends on the prompt, the preloaded results and the journal alone, so that another worker
// rebuilds the same bytes. The exception is a conversation that a server refused as too long; the server also refuses
// the other worker.
type conversation struct {
	messages  []backend.Message
	window    int // tokens of context; 0 if unknown
	keep      spec.KeepReasoning
	turns     int
	repairing bool   // the last turn requests a valid answer
	record    []Turn // all turns in their original form, if the batch keeps transcripts
}

// newConversation starts a conversation. Preloaded results are in front of the prompt, in the same message: many chat templates
// accept neither two user messages in sequence nor a tool call in front of the first one.
func newConversation(system string, preloaded []Preloaded, prompt string, window int, keep spec.KeepReasoning) *conversation {
	c := &conversation{window: window, keep: keep}
	if system != "" {
		c.messages = append(c.messages, backend.Message{Role: backend.RoleSystem, Content: system})
	}
	var lead strings.Builder
	for _, p := range preloaded {
		lead.WriteString(p.text())
	}
	c.messages = append(c.messages, backend.Message{Role: backend.RoleUser, Content: lead.String() + prompt, Lead: lead.Len()})
	return c
}

// add appends a turn in the form of the journal.
func (c *conversation) add(t Turn) {
	earlier := len(c.messages)
	c.messages = append(c.messages, kept(t.Assistant, c.keep))
	c.messages = append(c.messages, t.Tools...)
	if t.Repair != "" {
		c.messages = append(c.messages, backend.Message{Role: backend.RoleUser, Content: t.Repair})
	}
	c.turns++
	c.repairing = t.Repair != ""
	c.compact(earlier, t)
}

// compact shortens a conversation that nears the end of the context. It first drops the reasoning of earlier answers.
// Then it shortens the tool results of earlier turns, all at once, because each change costs the server its cached
// prefix. If that is not enough, it shortens those of the turn that was just added. No message is dropped, so a call and
// its result stay together.
func (c *conversation) compact(earlier int, t Turn) {
	limit := c.window * fullPercent / 100
	if c.window <= 0 {
		return
	}
	incoming := len(t.Repair)
	for _, m := range t.Tools {
		incoming += len(m.Content)
	}
	// Reasoning that is not sent again takes no room.
	unsent := (textBytes(t.Assistant) - textBytes(c.messages[earlier])) / bytesPerTokenSaved
	written := int(t.Usage.CompletionTokens) - max(0, min(unsent, int(t.Usage.CompletionTokens)))
	tokens := int(t.Usage.PromptTokens) + written + incoming/bytesPerTokenIn
	if tokens <= limit {
		return
	}
	if tokens -= dropAnswersReasoning(c.messages[:earlier]) / bytesPerTokenSaved; tokens <= limit {
		return
	}
	tokens -= shortenResults(c.messages[:earlier], shortResult) / bytesPerTokenSaved
	if tokens <= limit || len(t.Tools) == 0 {
		return
	}
	room := max(0, incoming-(tokens-limit)*bytesPerTokenIn)
	shortenResults(c.messages[earlier:], max(shortResult, room/len(t.Tools)))
}

// relieve shortens a conversation that a server has refused as too long, and reports whether it could. It drops the
// reasoning of answers, then shortens the longest tool results, then drops the reasoning of all turns except the last.
// The messages are shared with the request under way.
func (c *conversation) relieve() bool {
	if dropAnswersReasoning(c.messages) > 0 {
		return true
	}
	longest := 0
	for _, m := range c.messages {
		if m.Role == backend.RoleTool {
			longest = max(longest, len(m.Content))
		}
	}
	return shortenResults(c.messages, max(shortResult, longest/2)) > 0 || dropOlderReasoning(c.messages) > 0
}

// shortenResults cuts the tool results among messages to limit bytes each and returns how many bytes it saved.
func shortenResults(messages []backend.Message, limit int) (saved int) {
	for i, m := range messages {
		if m.Role == backend.RoleTool {
			messages[i].Content = shorten(m.Content, limit)
			saved += len(m.Content) - len(messages[i].Content)
		}
	}
	return saved
}

// leftOut matches the note in a text that was shortened before.
var leftOut = regexp.MustCompile(`\n\[… (\d{1,12}) bytes left out to fit the context …\]\n`)

// shorten keeps the beginning and the end of text with a note between them, at most limit bytes in all.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	missing := len(text) - limit
	if before := leftOut.FindStringSubmatch(text); before != nil {
		n, _ := strconv.Atoi(before[1]) // the pattern allows only digits
		missing += n
	}
	note := fmt.Sprintf("\n[… %d bytes left out to fit the context …]\n", missing)
	keep := max(0, limit-len(note)-utf8.UTFMax)
	head := keep * 2 / 3
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	tail := len(text) - (keep - head)
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + note + text[tail:]
}
