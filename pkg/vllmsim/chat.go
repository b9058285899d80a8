package vllmsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxBody is the limit of a request's body, in bytes.
const maxBody = 64 << 20

// errPassFailed ends a request with an injected failure of the forward pass.
var errPassFailed = errors.New("the forward pass fails on purpose")

// exchange is one chat completion in flight.
type exchange struct {
	server  *Server
	w       http.ResponseWriter
	arrived time.Time
	p       *prompt
	a       *answer
	faults  faultPlan
	id      string
	usage   usage
	number  uint64 // of the forward pass
	fails   bool   // the forward pass fails
	seen    bool   // the first token was generated
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	x := &exchange{server: s, w: w, arrived: time.Now()}
	seq, apiErr := x.begin(r)
	if apiErr != nil {
		apiErr.write(w)
		return
	}
	if x.p.req.Stream {
		x.stream(r.Context(), seq)
	} else {
		x.whole(r.Context(), seq)
	}
}

// begin reads, checks and admits the request.
func (x *exchange) begin(r *http.Request) (sequence, *apiError) {
	s := x.server
	req := &chatRequest{}
	if err := s.readBody(x.w, r, req); err != nil {
		return nil, err
	}
	p, apiErr := s.prepare(req)
	if apiErr != nil {
		return nil, apiErr
	}
	x.p = p
	if apiErr = p.readToolTurns(r.Header); apiErr != nil {
		return nil, apiErr
	}
	if x.faults, apiErr = s.injector.plan(r.Header, p.tokens.hash); apiErr != nil {
		return nil, apiErr
	}
	if x.faults.status != 0 {
		return nil, faultError(x.faults.status)
	}
	x.id = s.requestID(r.Header, req)
	x.a = s.answer(p, x.faults)
	x.usage = usage{prompt: p.tokens.tokens, completion: len(x.a.pieces)}
	seq, err := s.engine.admit(pass{
		promptTokens: p.tokens.tokens, prompt: p.tokens.blocks,
		outputTokens: len(x.a.pieces), whole: x.a.whole, delay: x.faults.delay, priority: req.Priority,
	})
	if err != nil {
		s.metrics.rejected.Inc()
		return nil, errBusy
	}
	x.number, x.fails = s.injector.passFails()
	return seq, nil
}

// readBody decodes a JSON body.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, into any) *apiError {
	buf := s.buffer()
	defer s.recycle(buf)
	body, err := readAll(http.MaxBytesReader(w, r.Body, maxBody), *buf)
	*buf = body
	if err != nil {
		return badRequest("read the request body: %s", err)
	}
	return decode(body, into)
}

func readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func (p *prompt) readToolTurns(h http.Header) *apiError {
	v := h.Get(headerToolTurns)
	if v == "" {
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return badRequest("%s must be a number of turns, got %q", headerToolTurns, v)
	}
	p.toolTurns = n
	return nil
}

func (s *Server) requestID(h http.Header, req *chatRequest) string {
	if id := h.Get("X-Request-ID"); id != "" {
		return "chatcmpl-" + id
	}
	if req.RequestID != "" {
		return "chatcmpl-" + req.RequestID
	}
	return fmt.Sprintf("chatcmpl-%016x", mix(mix(s.cfg.Seed)+s.requests.Add(1)))
}

// stream sends the answer as server-sent events.
func (x *exchange) stream(ctx context.Context, seq sequence) {
	s := x.server
	buf := s.buffer()
	out := &stream{
		w: x.w, a: x.a, interval: s.cfg.StreamInterval, cut: x.faults, buf: *buf, print: s.fingerprint,
		head: appendStreamHead(make([]byte, 0, 160), x.id, x.arrived.Unix(), s.cfg.Model),
	}
	defer func() { *buf = out.buf[:0]; s.recycle(buf) }()
	if x.p.wantsUsage {
		out.usage = &x.usage
	}
	// A failing pass answers with a status, so its headers must wait.
	if !x.fails {
		out.open()
	}
	err := seq.generate(ctx, func(now step) error {
		if err := x.progress(now); err != nil {
			return err
		}
		if x.faults.hang {
			return x.hang(ctx, out)
		}
		if err := out.advance(now.tokens); err != nil {
			return err
		}
		if now.tokens < len(x.a.pieces) {
			return out.flush()
		}
		return nil
	})
	if err == nil {
		x.finished()
		err = out.finish()
	}
	x.fail(err)
}

// hang sends the first event and then holds the request until the client gives up.
func (x *exchange) hang(ctx context.Context, out *stream) error {
	if out != nil {
		if err := errors.Join(out.role(), out.flush()); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// whole sends the answer as one body.
func (x *exchange) whole(ctx context.Context, seq sequence) {
	s := x.server
	err := seq.generate(ctx, func(now step) error {
		if err := x.progress(now); err != nil {
			return err
		}
		if x.faults.hang {
			return x.hang(ctx, nil)
		}
		return nil
	})
	if err != nil {
		x.fail(err)
		return
	}
	x.finished()
	buf := s.buffer()
	defer s.recycle(buf)
	*buf = appendBody(*buf, x.id, x.arrived.Unix(), s.cfg.Model, s.fingerprint, x.a, &x.usage)
	if !x.faults.cuts() {
		writeJSON(x.w, http.StatusOK, *buf)
		return
	}
	// Content-Length is that of the whole body.
	n := len(*buf) / 2
	if x.faults.cutBytes > 0 {
		n = min(n, x.faults.cutBytes)
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(*buf)))
	_, _ = x.w.Write((*buf)[:n]) // the connection is closed next
	x.fail(errCut)
}

// progress records the engine's progress. The first call marks the first token.
func (x *exchange) progress(now step) error {
	if x.seen {
		return nil
	}
	x.seen = true
	x.usage.cached, x.usage.created = now.cached, now.created
	if x.fails {
		return errPassFailed
	}
	x.server.metrics.started(&x.usage)
	x.server.metrics.firstToken.Observe(time.Since(x.arrived).Seconds())
	return nil
}

func (x *exchange) finished() {
	m := x.server.metrics
	m.generated.Add(float64(x.usage.completion))
	m.finished[x.a.reason].Inc()
	m.latency.Observe(time.Since(x.arrived).Seconds())
}

// fail ends an exchange that did not finish. It answers nothing if the client is gone.
func (x *exchange) fail(err error) {
	switch {
	case errors.Is(err, errPassFailed):
		x.server.metrics.finished["error"].Inc()
		(&apiError{
			status: http.StatusInternalServerError, kind: "InternalServerError",
			message: fmt.Sprintf("simulated fault: forward pass %d failed", x.number),
		}).write(x.w)
	case errors.Is(err, errCut):
		x.closeConnection()
	}
}

// closeConnection closes the connection before the end of the body.
func (x *exchange) closeConnection() {
	rc := http.NewResponseController(x.w)
	if err := rc.Flush(); err != nil {
		return
	}
	if conn, _, err := rc.Hijack(); err == nil {
		_ = conn.Close() // a cut connection is the intended fault
	}
}
