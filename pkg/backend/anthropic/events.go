package anthropic

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

// maxEvent limits one event, in bytes.
const maxEvent = 8 << 20

// event is an event of a stream. The names are those of the Messages API. Members that no caller reads are missing.
type event struct {
	Type    string
	Index   int
	Message struct {
		Model string
		Usage usage
	}
	ContentBlock struct {
		Type, Text, Thinking, Signature, Data, ID, Name string
	} `json:"content_block"`
	Delta struct {
		Type, Text, Thinking, Signature string

		PartialJSON string `json:"partial_json"`
		StopReason  string `json:"stop_reason"`
	}
	Usage usage
}

// usage counts tokens.
type usage struct {
	InputTokens  count  `json:"input_tokens"`
	OutputTokens count  `json:"output_tokens"`
	CacheWrite   *count `json:"cache_creation_input_tokens"` // nil if not reported
	CacheRead    *count `json:"cache_read_input_tokens"`     // nil if not reported
}

// count is a number of tokens. Some servers write whole numbers with a fraction. It is never negative.
type count int64

func (n *count) UnmarshalJSON(raw []byte) error {
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	*n = count(min(max(f, 0), 1e15))
	return nil
}

// known are the kinds of events with content. The API may add others; readers skip them.
var known = map[string]bool{
	"message_start": true, "content_block_start": true, "content_block_delta": true, "content_block_stop": true, "message_delta": true, "message_stop": true,
}

// events decodes the known events of an answer. An error is the last element: of the connection, of an event that is no JSON, or from an
// error event.
func events(answer *http.Response) iter.Seq2[*event, error] {
	return func(yield func(*event, error) bool) {
		for sent, err := range sse.Read(answer.Body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
			if err != nil {
				yield(nil, fmt.Errorf("read the stream: %w", err))
				return
			}
			kind := sent.Type
			if kind == "" {
				kind = typeOf(sent.Data)
			}
			if kind == "error" {
				yield(nil, classify(answer.StatusCode, answer.Header, []byte(sent.Data), time.Now()))
				return
			}
			if !known[kind] {
				continue
			}
			var e event
			if err := json.Unmarshal([]byte(sent.Data), &e); err != nil {
				yield(nil, fmt.Errorf("event %s: %w", kind, err))
				return
			}
			e.Type = kind
			if !yield(&e, nil) {
				return
			}
		}
	}
}

// typeOf returns the type of an event without a name, which some proxies send; "" for data that is no event.
func typeOf(data string) string {
	var e struct{ Type string }
	_ = json.Unmarshal([]byte(data), &e) // other data has no type
	return e.Type
}
