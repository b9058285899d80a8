package modelapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/batchagent/batchagent/pkg/backend"
)

// defaultModel is a name that every session accepts for its default model, like an empty name.
const defaultModel = "default"

// sessionModels returns the models of the session. It keeps them after the first successful call.
func (a *api) sessionModels(ctx context.Context) ([]backend.Model, error) {
	if known := a.models.Load(); known != nil {
		return *known, nil
	}
	models, err := a.caller.Models(ctx)
	if err == nil && len(models) > 0 {
		a.models.Store(&models)
	}
	return models, err
}

// shownModel returns the name of the model in the responses to a request. The session has one model, so every name means that one, and
// programs need no change. Responses repeat the name.
func (a *api) shownModel(ctx context.Context, name string) string {
	if name != "" && name != defaultModel {
		return name
	}
	if models, err := a.sessionModels(ctx); err == nil && len(models) > 0 {
		return models[0].ID
	}
	return defaultModel
}

func (a *api) listModels(w http.ResponseWriter, r *http.Request) {
	models, err := a.sessionModels(r.Context())
	switch forAnthropic := r.Header.Get("Anthropic-Version") != ""; {
	case err != nil && forAnthropic:
		writeAnthropic(w, failureOf(err))
	case err != nil:
		writeOpenAI(w, failureOf(err))
	case forAnthropic:
		list := make([]anthropicModel, len(models))
		for i, m := range models {
			list[i] = newAnthropicModel(m)
		}
		page := map[string]any{"data": list, "has_more": false, "first_id": nil, "last_id": nil}
		if n := len(list); n > 0 {
			page["first_id"], page["last_id"] = list[0].ID, list[n-1].ID
		}
		writeJSON(w, http.StatusOK, page)
	default:
		list := make([]openAIModel, len(models))
		for i, m := range models {
			list[i] = newOpenAIModel(m)
		}
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
	}
}

func (a *api) showModel(w http.ResponseWriter, r *http.Request) {
	models, err := a.sessionModels(r.Context())
	forAnthropic := r.Header.Get("Anthropic-Version") != ""
	var f *failure
	if err != nil {
		f = failureOf(err)
	} else {
		name := r.PathValue("id")
		i := slices.IndexFunc(models, func(m backend.Model) bool { return m.Is(name) })
		if i < 0 && name == defaultModel && len(models) > 0 {
			i = 0
		}
		switch {
		case i < 0:
			f = notFound("the model %q does not exist in this session", name)
			f.code, f.param = "model_not_found", "model"
		case forAnthropic:
			writeJSON(w, http.StatusOK, newAnthropicModel(models[i]))
			return
		default:
			writeJSON(w, http.StatusOK, newOpenAIModel(models[i]))
			return
		}
	}
	if forAnthropic {
		writeAnthropic(w, f)
	} else {
		writeOpenAI(w, f)
	}
}

type openAIModel struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	OwnedBy     string `json:"owned_by"`
	MaxModelLen int    `json:"max_model_len,omitempty"` // as vLLM reports it
}

func newOpenAIModel(m backend.Model) openAIModel {
	return openAIModel{ID: m.ID, Object: "model", OwnedBy: "batchagent", MaxModelLen: m.MaxModelLen}
}

type anthropicModel struct {
	Type           string `json:"type"`
	ID             string `json:"id"`
	DisplayName    string `json:"display_name"`
	CreatedAt      string `json:"created_at"`
	MaxInputTokens int    `json:"max_input_tokens,omitempty"`
}

func newAnthropicModel(m backend.Model) anthropicModel {
	return anthropicModel{Type: "model", ID: m.ID, DisplayName: m.ID, CreatedAt: "1970-01-01T00:00:00Z", MaxInputTokens: m.MaxModelLen}
}
