package openaichat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Card is a model in the server's list.
type Card struct {
	ID      string
	OwnedBy string
	Created int64 // unix seconds
	// MaxModelLen is the context in tokens, from the server; 0 if missing.
	MaxModelLen int
}

// UnmarshalJSON decodes a model with any of the names that servers use. It skips a member of an unexpected type.
func (c *Card) UnmarshalJSON(raw []byte) error {
	var m struct {
		ID      loose `json:"id"`
		Name    loose `json:"name"`
		Model   loose `json:"model"`
		OwnedBy loose `json:"owned_by"`
		Created count `json:"created"`

		MaxModelLen  count `json:"max_model_len"`
		Window       count `json:"context_window"`
		Length       count `json:"context_length"`
		LoadedLength count `json:"loaded_context_length"`
		MaxLength    count `json:"max_context_length"`
		InputLimit   count `json:"inputTokenLimit"`
		Meta         struct {
			Context count `json:"n_ctx"` // of llama.cpp, for one slot
		} `json:"meta"`
	}
	_ = json.Unmarshal(raw, &m)
	*c = Card{
		ID: string(cmp.Or(m.ID, m.Name, m.Model)), OwnedBy: string(m.OwnedBy), Created: int64(m.Created),
		MaxModelLen: int(cmp.Or(m.MaxModelLen, m.Meta.Context, m.LoadedLength, m.Window, m.Length, m.MaxLength, m.InputLimit)),
	}
	return nil
}

// Cards returns the server's models. The server sends a list or an object with a list.
func (c *Client) Cards(ctx context.Context) ([]Card, error) {
	body, err := c.Fetch(ctx, http.MethodGet, c.base+"/models", nil)
	if err != nil {
		return nil, err
	}
	cards, ok := parseCards(body)
	if !ok {
		return nil, c.located(&backend.Error{Class: backend.InvalidRequest, Status: http.StatusOK,
			Message: c.base + "/models did not answer with a list of models; is this an OpenAI-compatible server? If it is, name the model in the spec (model:)"})
	}
	return cards, nil
}

func parseCards(body []byte) ([]Card, bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, bom))
	var cards []Card
	if len(body) > 0 && body[0] == '[' {
		err := json.Unmarshal(body, &cards)
		return named(cards), err == nil
	}
	var list struct {
		Data   json.RawMessage `json:"data"`
		Models json.RawMessage `json:"models"`
	}
	if json.Unmarshal(body, &list) != nil || list.Data == nil && list.Models == nil {
		return nil, false
	}
	for _, raw := range []json.RawMessage{list.Data, list.Models} {
		if len(cards) == 0 && isSet(raw) && json.Unmarshal(raw, &cards) != nil {
			return nil, false
		}
	}
	return named(cards), true
}

// named drops cards without a name.
func named(cards []Card) []Card {
	out := cards[:0]
	for _, c := range cards {
		if c.ID != "" {
			out = append(out, c)
		}
	}
	return out
}
