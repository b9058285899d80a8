package openaichat

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/backend"
)

// chunk is the used part of one event or of an answer without a stream. Its members accept every form that servers
// send: a member of an unexpected form never hides another member.
type chunk struct {
	Model   loose        `json:"model"`
	Choices many[choice] `json:"choices"`
	Usage   *usage       `json:"usage"`
	Groq    *struct {
		Usage *usage `json:"usage"`
	} `json:"x_groq"`
	Error  json.RawMessage `json:"error"`
	Object loose           `json:"object"`
	// A tool_call_dispatch event.
	ChoiceIndex callIndex  `json:"choice_index"`
	ToolCall    *callDelta `json:"tool_call"`
}

type choice struct {
	Index        callIndex `json:"index"`
	Delta        *delta    `json:"delta"`
	Message      *delta    `json:"message"` // used instead of delta
	Text         loose     `json:"text"`    // used instead of both
	FinishReason loose     `json:"finish_reason"`
	Usage        *usage    `json:"usage"`
}

// delta is a piece of a message, or a whole one.
type delta struct {
	thoughtDelta
	Content      content         `json:"content"`
	Refusal      loose           `json:"refusal"`
	ToolCalls    many[callDelta] `json:"tool_calls"`
	FunctionCall *struct {
		Name      loose `json:"name"`
		Arguments loose `json:"arguments"`
	} `json:"function_call"` // the form before tool_calls
}

// many is a list. A single object becomes a list of one.
type many[T any] []T

func (m *many[T]) UnmarshalJSON(raw []byte) error {
	if raw[0] != '{' {
		return json.Unmarshal(raw, (*[]T)(m))
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*m = many[T]{one}
	return nil
}

// loose is a string, or the JSON of any other value. null becomes "".
type loose string

func (l *loose) UnmarshalJSON(raw []byte) error {
	*l = loose(plain(raw))
	return nil
}

// plain returns a string's text, "" for null, and the JSON of any other value.
func plain(raw []byte) string {
	switch {
	case len(raw) < 2 || raw[0] != '"':
		if bytes.Equal(raw, []byte("null")) {
			return ""
		}
		return string(raw)
	case bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw):
		return string(raw[1 : len(raw)-1])
	}
	return decodeString(raw) // the JSON decoder has validated it
}

// content is a message's content: a string, a list of parts, or any other JSON value, which becomes the text.
type content struct {
	text, reasoning, refusal string
	// lost is the type of an unreadable part that may contain text; "" without such a part.
	lost string
}

func (c *content) UnmarshalJSON(raw []byte) error {
	*c = content{}
	switch raw[0] {
	case '[':
		var parts []json.RawMessage
		if json.Unmarshal(raw, &parts) == nil {
			for _, p := range parts {
				c.part(p, 0)
			}
		}
	case '{':
		before := *c
		if c.part(raw, 0); c.lost != "" { // the object itself is the answer
			*c = before
			c.text = string(raw)
		}
	default:
		c.text = plain(raw)
	}
	return nil
}

// part adds one part of a list.
func (c *content) part(raw json.RawMessage, depth int) {
	if len(raw) == 0 || raw[0] != '{' {
		c.text += plain(raw)
		return
	}
	var p struct {
		Type     string          `json:"type"`
		Text     *loose          `json:"text"`
		Refusal  *loose          `json:"refusal"`
		Thinking json.RawMessage `json:"thinking"`
	}
	_ = json.Unmarshal(raw, &p) // a member of an unexpected type stays unset
	switch {
	case p.Type == "thinking" || p.Type == "reasoning":
		c.think(p.Thinking, depth)
		if p.Text != nil {
			c.reasoning += string(*p.Text)
		}
	case p.Text != nil:
		c.text += string(*p.Text)
	case p.Refusal != nil:
		c.refusal += string(*p.Refusal)
	case p.Type == "reference", p.Type == "image_url", p.Type == "input_audio":
	case p.Type == "":
		c.lost = "no type"
	default:
		c.lost = strconv.Quote(p.Type)
	}
}

// think adds the text of a thinking part, which may itself be a list of parts.
func (c *content) think(raw json.RawMessage, depth int) {
	if len(raw) == 0 || depth > 2 {
		return
	}
	var inner content
	if raw[0] != '[' {
		c.reasoning += plain(raw)
		return
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) == nil {
		for _, p := range parts {
			inner.part(p, depth+1)
		}
	}
	c.reasoning += inner.text + inner.reasoning
}

// usage counts tokens, with the names that servers use.
type usage struct {
	PromptTokens     count `json:"prompt_tokens"`
	CompletionTokens count `json:"completion_tokens"`
	TotalTokens      count `json:"total_tokens"`
	InputTokens      count `json:"input_tokens"`
	OutputTokens     count `json:"output_tokens"`
	PromptDetails    *struct {
		CachedTokens *count `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails *struct {
		ReasoningTokens count `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
	CacheHit *count `json:"prompt_cache_hit_tokens"` // DeepSeek's
}

// UnmarshalJSON decodes the readable members: usage never causes an error.
func (u *usage) UnmarshalJSON(raw []byte) error {
	type plain usage
	*u = usage{}
	_ = json.Unmarshal(raw, (*plain)(u))
	return nil
}

// count is a number of tokens, sent as an integer, a float or a string. It is never negative.
type count int64

func (n *count) UnmarshalJSON(raw []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || math.IsNaN(f) {
		f = 0
	}
	*n = count(min(max(f, 0), 1e15))
	return nil
}

// callIndex is an index, sent as an integer, a float or a string. An unreadable one is 0.
type callIndex int

func (i *callIndex) UnmarshalJSON(raw []byte) error {
	var n count
	_ = n.UnmarshalJSON(raw) // never fails
	*i = callIndex(min(n, 1<<20))
	return nil
}

// reported converts the server's counts to the backend's.
func (u *usage) reported() *backend.Usage {
	if u == nil {
		return nil
	}
	out := &backend.Usage{PromptTokens: int64(max(u.PromptTokens, u.InputTokens)), CompletionTokens: int64(max(u.CompletionTokens, u.OutputTokens)), CachedTokens: -1}
	switch {
	case u.PromptDetails != nil && u.PromptDetails.CachedTokens != nil:
		out.CachedTokens = int64(*u.PromptDetails.CachedTokens)
	case u.CacheHit != nil:
		out.CachedTokens = int64(*u.CacheHit)
	}
	reasoning := int64(0)
	if d := u.CompletionDetails; d != nil {
		reasoning = int64(d.ReasoningTokens)
	}
	out.CompletionTokens = generated(out.PromptTokens, out.CompletionTokens, int64(u.TotalTokens), reasoning, out.CachedTokens)
	return out
}
