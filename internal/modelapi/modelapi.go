package modelapi

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Caller makes the model calls of one session. It is safe for concurrent use. If it is also a [backend.TokenCounter], programs can
// count tokens.
type Caller interface {
	// Call makes one call. It retries and journals. Errors are *backend.Error, or the cause of ctx. They are final:
	// the handler asks clients not to retry. After the first piece was reported to o, Call does not repeat the call, because a program has seen the piece.
	//
	// The request has no ID, hints or silence timeout. It contains nothing random: equal requests of a program are equal.
	Call(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error)
	// Models lists the models that the session may use. The first is the default.
	Models(ctx context.Context) ([]backend.Model, error)
	// CountTokens counts the tokens of a request's prompt. [errors.ErrUnsupported]: the model server counts none.
	CountTokens(ctx context.Context, r *backend.Request) (int, error)
}

const (
	maxBody     = 32 << 20 // bytes of a request's body
	maxDepth    = 64       // nested objects and arrays of a body
	maxMessages = 10_000   // messages or items of a request
	maxTools    = 1_000
	maxChoices  = 32 // of one chat completion
)

// New returns the handler of one session. It serves these routes, each with and without /v1:
//
//	POST /v1/chat/completions
//	POST /v1/responses
//	POST /v1/messages
//	POST /v1/messages/count_tokens
//	GET  /v1/models
//	GET  /v1/models/{id}
//
// The lists of models have the form of Anthropic's API if the request has the header Anthropic-Version.
func New(c Caller) http.Handler { return (&api{caller: c, maxBody: maxBody}).routes() }

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	for _, root := range []string{"", "/v1"} {
		mux.HandleFunc("POST "+root+"/chat/completions", a.answering(chatCompletions))
		mux.HandleFunc("POST "+root+"/responses", a.answering(responses))
		mux.HandleFunc("POST "+root+"/messages", a.answering(messages))
		mux.HandleFunc("POST "+root+"/messages/count_tokens", a.countTokens)
		mux.HandleFunc("GET "+root+"/models", a.listModels)
		mux.HandleFunc("GET "+root+"/models/{id...}", a.showModel)
	}
	mux.HandleFunc("/", a.noRoute)
	return mux
}

// api is the handler of one session.
type api struct {
	caller  Caller
	maxBody int64
	models  atomic.Pointer[[]backend.Model] // nil until the caller has listed some
}

func (a *api) noRoute(w http.ResponseWriter, r *http.Request) {
	f := notFound("%s %s is not served; a session has chat/completions, responses, messages, messages/count_tokens and models", r.Method, r.URL.Path)
	if r.Header.Get("Anthropic-Version") != "" {
		writeAnthropic(w, f)
		return
	}
	writeOpenAI(w, f)
}
