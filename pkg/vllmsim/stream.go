package vllmsim

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

// errCut ends a stream with an injected cut.
var errCut = errors.New("the stream is cut on purpose")

// usage is the token count of one request.
type usage struct{ prompt, cached, created, completion int }

// stream writes one answer as server-sent events. Events that are due at the same time are sent in one write.
type stream struct {
	w        http.ResponseWriter
	a        *answer
	head     []byte // the beginning of every event
	buf      []byte // events waiting for flush
	interval int    // limit of tokens per event
	usage    *usage // sent in a separate event; nil if the client did not request it
	print    string // system_fingerprint, on the last event
	sent     int    // tokens written
	started  bool   // the role event is written
	cut      faultPlan
	events   int // written so far
	flushed  int // bytes of the body already sent
}

func appendStreamHead(dst []byte, id string, created int64, model string) []byte {
	dst = append(dst, `data: {"id":`...)
	dst = sample.AppendString(dst, id)
	dst = append(dst, `,"object":"chat.completion.chunk","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"model":`...)
	dst = sample.AppendString(dst, model)
	return append(dst, `,"choices":[`...)
}

// open sends the headers. The real server sends them while the request is still queued.
func (s *stream) open() {
	s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	s.w.WriteHeader(http.StatusOK)
	s.push()
}

// role writes the first event.
func (s *stream) role() error {
	s.started = true
	s.begin()
	s.buf = append(s.buf, `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}`...)
	return s.end()
}

// advance writes the events for the answer's tokens up to n. The caller must flush.
func (s *stream) advance(n int) error {
	if !s.started {
		if err := s.role(); err != nil {
			return err
		}
	}
	for s.sent < n {
		if err := s.delta(n); err != nil {
			return err
		}
	}
	return nil
}

// delta writes one event from the waiting tokens up to n. All tokens of an event have the same kind.
func (s *stream) delta(n int) error {
	first := s.a.pieces[s.sent]
	run := s.sent + 1
	if first.kind == kindContent || first.kind == kindArgs {
		for run < n && run-s.sent < s.interval && s.a.pieces[run].kind == first.kind {
			run++
		}
	}
	text := s.a.text[first.start:s.a.pieces[run-1].end]
	s.sent = run
	switch first.kind {
	case kindContent:
		s.begin()
		s.buf = append(s.buf, `{"index":0,"delta":{"content":`...)
		s.buf = sample.AppendString(s.buf, text)
		s.buf = append(s.buf, `},"logprobs":null,"finish_reason":`...)
		if s.contentEnds() {
			s.buf = append(s.buf, `"length","stop_reason":null,"token_ids":null}]`...)
			s.lastChoice()
		} else {
			s.buf = append(s.buf, `null,"token_ids":null}]}`...)
		}
	case kindCall:
		s.begin()
		s.buf = append(s.buf, `{"index":0,"delta":{"content":null,"tool_calls":[{"id":`...)
		s.buf = sample.AppendString(s.buf, s.a.call.id)
		s.buf = append(s.buf, `,"type":"function","index":0,"function":{"name":`...)
		s.buf = sample.AppendString(s.buf, s.a.call.name)
		s.buf = append(s.buf, `}}]},"logprobs":null,"finish_reason":null,"token_ids":null}]}`...)
	case kindArgs:
		s.begin()
		s.buf = append(s.buf, `{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"function":{"arguments":`...)
		s.buf = sample.AppendString(s.buf, text)
		s.buf = append(s.buf, `}}]},"logprobs":null,"finish_reason":null,"token_ids":null}]}`...)
	case kindHidden:
		return nil
	}
	return s.end()
}

// contentEnds reports whether the current content event includes the finish reason. It does when the token limit cuts the text,
// since no end token follows.
func (s *stream) contentEnds() bool { return s.a.finish == "length" && s.sent == len(s.a.pieces) }

// finish writes the finish reason, the usage if requested, and the end mark.
func (s *stream) finish() error {
	if last := s.a.pieces[len(s.a.pieces)-1]; s.a.finish != "length" || last.kind != kindContent {
		s.begin()
		s.buf = append(s.buf, `{"index":0,"delta":{},"logprobs":null,"finish_reason":`...)
		s.buf = sample.AppendString(s.buf, s.a.finish)
		s.buf = append(s.buf, `,"stop_reason":`...)
		s.buf = appendStop(s.buf, s.a.stop)
		s.buf = append(s.buf, `,"token_ids":null}]`...)
		s.lastChoice()
		if err := s.end(); err != nil {
			return err
		}
	}
	if s.usage != nil {
		s.begin()
		s.buf = append(s.buf, `],"usage":`...)
		s.buf = appendUsage(s.buf, s.usage, false)
		s.fingerprint()
		if err := s.end(); err != nil {
			return err
		}
	}
	s.buf = append(s.buf, "data: [DONE]\n\n"...)
	return s.flush()
}

// lastChoice completes the event with the finish reason. It is the last event unless usage follows.
func (s *stream) lastChoice() {
	if s.usage == nil {
		s.fingerprint()
		return
	}
	s.buf = append(s.buf, '}')
}

func (s *stream) fingerprint() {
	s.buf = append(s.buf, `,"system_fingerprint":`...)
	s.buf = sample.AppendString(s.buf, s.print)
	s.buf = append(s.buf, '}')
}

func (s *stream) begin() { s.buf = append(s.buf, s.head...) }

func (s *stream) end() error {
	s.buf = append(s.buf, "\n\n"...)
	s.events++
	if s.cut.cutEvents > 0 && s.events >= s.cut.cutEvents {
		return s.sever(len(s.buf))
	}
	return nil
}

// flush sends the waiting events.
func (s *stream) flush() error {
	if limit := s.cut.cutBytes; limit > 0 && s.flushed+len(s.buf) >= limit {
		return s.sever(limit - s.flushed)
	}
	if len(s.buf) == 0 {
		return nil
	}
	s.flushed += len(s.buf)
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	s.push()
	return nil
}

// sever sends the first n waiting bytes and ends the stream.
func (s *stream) sever(n int) error {
	_, err := s.w.Write(s.buf[:n])
	s.push()
	return errors.Join(errCut, err)
}

func (s *stream) push() {
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}

func appendStop(dst []byte, stop string) []byte {
	if stop == "" {
		return append(dst, "null"...)
	}
	return sample.AppendString(dst, stop)
}

// appendUsage appends a usage object. The one in an unstreamed body has two more fields.
func appendUsage(dst []byte, u *usage, body bool) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, int64(u.prompt), 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, int64(u.prompt+u.completion), 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, int64(u.completion), 10)
	dst = append(dst, `,"prompt_tokens_details":{"cached_tokens":`...)
	dst = strconv.AppendInt(dst, int64(u.cached), 10)
	dst = append(dst, `,"created_cache_tokens":`...)
	dst = strconv.AppendInt(dst, int64(u.created), 10)
	if body {
		dst = append(dst, `,"multimodal_tokens":null},"completion_tokens_details":null}`...)
	} else {
		dst = append(dst, `}}`...)
	}
	return dst
}
