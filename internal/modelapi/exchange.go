package modelapi

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// request is a decoded request of either provider.
type request struct {
	call    *backend.Request
	model   string // as the program named it
	shown   string // the name in responses
	choices int    // answers to the same request; 1 or more
	stream  bool
	usage   bool // the stream of a chat completion ends with the usage
	sealed  bool // the program wants encrypted reasoning (Responses API)
}

// choice returns the call for one of several answers. With one seed for all, they would be the same answer.
func (r *request) choice(number int) *backend.Request {
	if number == 0 || r.call.Sampling.Seed == nil {
		return r.call
	}
	call, seed := *r.call, *r.call.Sampling.Seed+int64(number)
	call.Sampling.Seed = &seed
	return &call
}

// answers makes the calls of a request without a stream. The first error ends the others.
func (a *api) answers(ctx context.Context, r *request) ([]*backend.Response, error) {
	if r.choices == 1 {
		resp, err := a.caller.Call(ctx, r.call, backend.Observer{})
		return []*backend.Response{resp}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]*backend.Response, r.choices)
	var calls sync.WaitGroup
	for i := range out {
		calls.Go(func() {
			resp, err := a.caller.Call(ctx, r.choice(i), backend.Observer{})
			if err != nil {
				cancel(err)
			}
			out[i] = resp
		})
	}
	calls.Wait()
	return out, context.Cause(ctx)
}

// usageOf adds up the usage of all answers.
func usageOf(all []*backend.Response) backend.Usage {
	u := backend.Usage{CachedTokens: -1}
	for _, r := range all {
		u.PromptTokens += r.Usage.PromptTokens
		u.CompletionTokens += r.Usage.CompletionTokens
		if r.Usage.CachedTokens >= 0 {
			u.CachedTokens = max(u.CachedTokens, 0) + r.Usage.CachedTokens
		}
	}
	return u
}

const (
	// patience is the wait for a first piece after which a stream starts with comments, so that clients do not give up.
	patience = 15 * time.Second
	// writeTimeout limits the wait for a client that does not read.
	writeTimeout = time.Minute
)

// errSlowClient is the cause of cancelling the calls of a client that reads too slowly.
var errSlowClient = errors.New("the client does not read its stream")

// encoder writes a stream in one provider's form. Its methods are called on one goroutine.
type encoder interface {
	text(choice int, piece string)
	reasoning(choice int, piece string)
	// thought ends a block of reasoning. The pieces of its text came before.
	thought(choice int, p backend.Protocol, b backend.ReasoningBlock)
	// tool writes a call. finish is FinishLength if the answer was cut, perhaps in this call; it may be "" while the answer arrives.
	tool(choice int, c backend.ToolCall, finish backend.FinishReason)
	// end ends a choice. Its content was written before.
	end(choice int, r *backend.Response)
	// finish ends the stream after all choices.
	finish(all []*backend.Response)
	// fail ends the stream early.
	fail(f *failure)
}

// stream makes the calls of a request and writes their pieces as they arrive. It returns an error if nothing was written yet: then the
// caller answers with a status. All calls have ended when it returns.
func (a *api) stream(r *http.Request, q *request, out *eventWriter, e encoder) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	f := newFeed()
	var calls sync.WaitGroup
	defer func() {
		cancel(nil)
		calls.Wait()
	}()
	for choice := range q.choices {
		calls.Go(func() {
			resp, err := a.caller.Call(ctx, q.choice(choice), f.observer(choice))
			f.push(item{choice: choice, kind: ended, response: resp, err: err})
		})
	}
	fail := func(err error) error {
		if !out.started {
			return err
		}
		e.fail(failureOf(err))
		_ = out.flush() // the client may be gone
		return nil
	}
	tracks := make([]progress, q.choices)
	all := make([]*backend.Response, q.choices)
	for open := q.choices; open > 0; {
		items, err := f.next(ctx, patience)
		switch {
		case errors.Is(err, errSlowClient):
			cancel(err)
			calls.Wait()
			panic(http.ErrAbortHandler) // the client must not take the end of the connection for the end of the answer
		case err != nil: // the client is gone, or the session has ended
			return fail(err)
		case len(items) == 0:
			out.comment()
		}
		for i := range items {
			it := &items[i]
			if it.kind == ended {
				open--
				all[it.choice] = it.response
			}
			if err := tracks[it.choice].take(it, e); err != nil {
				return fail(err)
			}
		}
		if open == 0 {
			e.finish(all)
		}
		if out.flush() != nil {
			cancel(errSlowClient)
			return nil
		}
	}
	return nil
}

// progress records the written part of one choice.
type progress struct {
	text, reasoning written
	blocks          int
	calls           int // written, in order
}

// written records the written beginning of a text.
type written struct {
	bytes int
	hash  maphash.Hash
}

func (t *written) add(piece string) {
	t.bytes += len(piece)
	_, _ = t.hash.WriteString(piece) // never fails
}

// rest returns the part of the whole text that was not written. It returns false if another text was written.
func (t *written) rest(whole string) (string, bool) {
	if t.bytes > len(whole) || maphash.String(t.hash.Seed(), whole[:t.bytes]) != t.hash.Sum64() {
		return "", false
	}
	return whole[t.bytes:], true
}

// take writes one item. At the end of a call it writes the rest of the answer.
func (p *progress) take(it *item, e encoder) error {
	switch it.kind {
	case textPiece:
		p.text.add(string(it.text))
		e.text(it.choice, string(it.text))
	case reasoningPiece:
		p.reasoning.add(string(it.text))
		e.reasoning(it.choice, string(it.text))
	case thoughtEnd:
		p.blocks++
		e.thought(it.choice, it.protocol, it.block)
	case toolCall:
		p.tool(it.choice, it.index, it.call, "", e)
	case ended:
		if it.err != nil {
			return it.err
		}
		return p.end(it.choice, it.response, e)
	}
	return nil
}

func (p *progress) tool(choice, index int, c backend.ToolCall, finish backend.FinishReason, e encoder) {
	if index != p.calls {
		return // it was written, or an earlier call is not complete yet; end writes the rest
	}
	p.calls++
	e.tool(choice, c, finish)
}

// errChanged is the error of an answer that does not begin with its written pieces.
var errChanged = &backend.Error{Class: backend.Transient, Message: "the answer changed after a part of it was sent"}

func (p *progress) end(choice int, r *backend.Response, e encoder) error {
	m := &r.Message
	thoughts, _ := p.reasoning.rest(m.ReasoningText()) // a session may shorten long reasoning: nothing is added then
	text, same := p.text.rest(m.Content)
	if !same {
		return errChanged
	}
	if r.Finish == backend.FinishRefused && m.Content == r.Refusal {
		text = "" // the encoder has its own form of a refusal
	}
	others := func(n int) { // writes the first n blocks that are no reasoning: the text unless blank, then calls
		if n > 0 && strings.TrimSpace(m.Content) != "" {
			if text != "" {
				e.text(choice, text)
				text = ""
			}
			n--
		}
		for i, c := range m.ToolCalls[:min(max(n, 0), len(m.ToolCalls))] {
			p.tool(choice, i, c, r.Finish, e)
		}
	}
	if m.Reasoning != nil {
		end := 0
		for i, b := range m.Reasoning.Blocks {
			if end += b.Bytes; i < p.blocks {
				continue
			}
			others(b.After)
			if n := min(end-p.reasoning.bytes, len(thoughts)); n > 0 {
				e.reasoning(choice, thoughts[:n])
				p.reasoning.add(thoughts[:n])
				thoughts = thoughts[n:]
			}
			e.thought(choice, m.Reasoning.Protocol, b)
		}
	}
	if thoughts != "" {
		e.reasoning(choice, thoughts)
	}
	others(1 + len(m.ToolCalls))
	if text != "" {
		e.text(choice, text)
	}
	e.end(choice, r)
	return nil
}

// decoded reads and decodes a request, and decides its model.
func (a *api) decoded(w http.ResponseWriter, r *http.Request, decode func(value) (*request, *failure)) (*request, *failure) {
	body, f := a.read(w, r)
	if f != nil {
		return nil, f
	}
	q, f := decode(body)
	if f != nil {
		return nil, f
	}
	q.shown = a.shownModel(r.Context(), q.model)
	return q, nil
}

// provider is one API: how it reads requests and writes answers.
type provider struct {
	decode func(value) (*request, *failure)
	fail   func(http.ResponseWriter, *failure)
	stream func(*eventWriter, *request) encoder
	body   func(*request, []*backend.Response) any
}

// answering returns the handler of an API's requests for answers.
func (a *api) answering(p provider) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, f := a.decoded(w, r, p.decode)
		if f != nil {
			p.fail(w, f)
			return
		}
		if q.stream {
			out := newEventWriter(w)
			if err := a.stream(r, q, out, p.stream(out, q)); err != nil {
				p.fail(w, failureOf(err))
			}
			return
		}
		all, err := a.answers(r.Context(), q)
		if err != nil {
			p.fail(w, failureOf(err))
			return
		}
		writeJSON(w, http.StatusOK, p.body(q, all))
	}
}
