package sglang

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

const (
	maxAborts    = 32 // running at once; further calls only have their connection closed
	maxClosings  = 64 // running at once; the server keeps further sessions until it needs their room
	abortTimeout = 2 * time.Second
	// leastTopP replaces a top_p of 0, which the server refuses. So small a nucleus contains only the likeliest token.
	leastTopP = 1e-6
	// reasoningField is the server's name for the reasoning of a message.
	reasoningField = "reasoning_content"
)

// Generate runs one model call as a stream. See [backend.Backend].
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	call, err := b.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := b.Client.Generate(ctx, call, o)
	if err != nil {
		b.failed(ctx, call.ID, err)
	}
	return resp, err
}

// prepare returns a request that the server accepts, with an ID that no running call has.
func (b *Backend) prepare(ctx context.Context, r *backend.Request) (*backend.Request, error) {
	model, err := b.known(ctx, r.Model)
	if err != nil {
		return nil, err
	}
	call := *r
	call.Model = model
	call.ID = strings.TrimLeft(r.ID+"-", "-") + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // unique, not secret
	call.Messages = openaichat.ReasoningAs(reasoningField, openaichat.Repaired(r.Messages))
	if p := r.Sampling.TopP; p != nil && *p == 0 {
		least := leastTopP
		call.Sampling.TopP = &least
	}
	return &call, nil
}

// failed handles a failed call: it aborts the call at the server if necessary, and prepares later calls.
func (b *Backend) failed(ctx context.Context, rid string, err error) {
	e, ok := errors.AsType[*backend.Error](err)
	switch {
	case !ok && ctx.Err() != nil:
		b.aborts.start(func() { b.abort(ctx, rid) })
		return
	case !ok:
		return
	case e.Class == backend.Degenerate, e.Class == backend.Transient && e.Status == http.StatusOK: // cut or silent
		b.aborts.start(func() { b.abort(ctx, rid) })
	}
	if e.Class == backend.Transient {
		b.served.doubt() // the server may have restarted with another model
	}
	if strings.Contains(strings.ToLower(e.Message), priorityRefused) && b.plain.CompareAndSwap(false, true) {
		b.log.Warn("the server refuses priorities; later calls omit them. Start SGLang with --enable-priority-scheduling to use them",
			"endpoint", b.Endpoint())
	}
}

// abort makes the server drop a call without a waiting caller. Closing the connection has the same effect, after a
// while and without a proxy in between. The server answers 200 even for an unknown ID.
func (b *Backend) abort(ctx context.Context, rid string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	body, _ := json.Marshal(map[string]string{"rid": rid}) // a string always encodes
	if _, err := b.Fetch(ctx, http.MethodPost, "/abort_request", body); err != nil {
		b.log.Debug("could not abort a cancelled call at the server; its connection is closed", "endpoint", b.Endpoint(), "error", err)
	}
}
