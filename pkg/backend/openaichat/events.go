package openaichat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxEventBytes limits one line, and one event of several lines.
	maxEventBytes = 8 << 20
	// drainWait limits the wait for the end of a body after the end of its stream.
	drainWait  = 100 * time.Millisecond
	drainBytes = 4096
	maxStray   = 120
)

var (
	bom      = []byte("\xef\xbb\xbf")
	doneMark = []byte("[DONE]")
)

// eventKind defines how an event is handled.
type eventKind int

const (
	chatEvent    eventKind = iota // data without a name, or with the name of chat chunks
	namedEvent                    // data with another name
	errorEvent                    // an error, by its field or its name
	unframed                      // a line of JSON, or a whole body, without event framing
	doneEvent                     // the end mark
	unreadable                    // a line that is not a field of an event and may contain a chunk
	unknownField = "a line of the stream is not part of an event"
)

// streamEvent is one event. Its data is valid until the next call.
type streamEvent struct {
	kind eventKind
	data []byte
}

// events decodes a body as server-sent events. It limits each event, and accepts every framing that servers use:
//
//   - Lines end with LF, CR LF or CR. A byte order mark at the start of a line is skipped.
//   - Data of several lines is one event. An event with closed JSON is returned at once, so that neither a missing blank
//     line nor a missing last newline delays or loses it.
//   - Comments, empty data, and data that begins with a colon are keep-alives.
//   - A body without framing is returned whole.
//
// An unreadable line that may contain a chunk is returned as unreadable: no possible text is skipped.
type events struct {
	lines *bufio.Reader
	line  []byte // the part of a line that was already removed from the buffer
	data  []byte // of the current event
	scan  valueScan
	kind  eventKind // of the event, from its name
	names []string  // further names of events that are chatEvents
	// skipLF is set after a CR: a following LF belongs to it.
	skipLF bool
	begun  bool   // a field was read
	stray  []byte // the first line outside of events, shortened
	err    error  // of the body, to be returned next
}

// next returns the next event. The error is the body's: io.EOF if it ended properly.
func (e *events) next() (streamEvent, error) {
	for e.err == nil {
		line, err := e.readLine()
		if err != nil {
			e.err = err
			if errors.Is(err, io.EOF) && len(e.data) > 0 {
				return e.take(), nil
			}
			break
		}
		ev, ok := e.field(line)
		if e.err == nil && len(e.data) > maxEventBytes {
			e.err = fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
			break
		}
		if ok {
			return ev, nil
		}
	}
	return streamEvent{}, e.err
}

// readLine returns a line without its end. It does not return a line that a broken connection cut.
func (e *events) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		if _, err := e.lines.Peek(1); err != nil {
			if errors.Is(err, io.EOF) && len(e.line) > 0 {
				return e.line, nil
			}
			return nil, err
		}
		part, _ := e.lines.Peek(e.lines.Buffered())
		if e.skipLF {
			e.skipLF = false
			if part[0] == '\n' {
				_, _ = e.lines.Discard(1)
				continue
			}
		}
		end := bytes.IndexByte(part, '\n')
		if cr := bytes.IndexByte(part[:max(end, 0)], '\r'); end >= 0 && cr >= 0 {
			end = cr
		} else if end < 0 {
			end = bytes.IndexByte(part, '\r')
		}
		if end < 0 {
			if len(e.line)+len(part) > maxEventBytes {
				return nil, fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
			}
			e.line = append(e.line, part...)
			_, _ = e.lines.Discard(len(part))
			continue
		}
		e.skipLF = part[end] == '\r'
		line := part[:end]
		if len(e.line)+end > maxEventBytes {
			return nil, fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
		}
		if len(e.line) > 0 {
			e.line = append(e.line, line...)
			line = e.line
		}
		_, _ = e.lines.Discard(end + 1) // the bytes stay valid until the next read
		return line, nil
	}
}

// field handles one line. It returns an event if the line completes one.
func (e *events) field(line []byte) (streamEvent, bool) {
	line = bytes.TrimPrefix(line, bom)
	if len(line) == 0 {
		ev, ok := streamEvent{}, len(e.data) > 0
		if ok {
			ev = e.take()
		}
		e.kind = chatEvent
		return ev, ok
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch string(bytes.ToLower(bytes.TrimSpace(name))) {
	case "": // a comment
		return streamEvent{}, false
	case "data":
		e.begun = true
		return e.dataLine(value)
	case "event":
		e.begun = true
		e.kind = e.kindOf(string(value))
		return streamEvent{}, false
	case "id", "retry":
		e.begun = true
		return streamEvent{}, false
	case "error":
		e.begun = true
		return streamEvent{errorEvent, value}, true
	}
	return e.strayLine(line)
}

func (e *events) kindOf(name string) eventKind {
	switch name {
	case "", "message":
		return chatEvent
	case "error":
		return errorEvent
	}
	for _, known := range e.names {
		if name == known {
			return chatEvent
		}
	}
	return namedEvent
}

func (e *events) dataLine(value []byte) (streamEvent, bool) {
	if len(e.data) == 0 {
		switch {
		case len(value) == 0 || value[0] == ':':
			return streamEvent{}, false
		case bytes.EqualFold(value, doneMark):
			return streamEvent{doneEvent, nil}, true
		case value[0] != '{' && value[0] != '[':
			return streamEvent{e.kind, value}, true
		}
		e.scan = valueScan{}
		if e.scan.feedBytes(value) == len(value) {
			return streamEvent{e.kind, value}, true
		}
		if e.scan.over { // the line continues: it is not JSON
			return streamEvent{e.kind, value}, true
		}
	} else {
		e.scan.feedBytes(value)
	}
	e.data = append(append(e.data, value...), '\n')
	if e.scan.over {
		return e.take(), true
	}
	return streamEvent{}, false
}

// take returns the assembled event.
func (e *events) take() streamEvent {
	ev := streamEvent{e.kind, e.data}
	e.data = e.data[:0:cap(e.data)]
	e.scan = valueScan{}
	return ev
}

// strayLine handles a line that is not a field. At the first line of a body without framing it returns the whole body.
func (e *events) strayLine(line []byte) (streamEvent, bool) {
	start := bytes.TrimSpace(line)
	if len(start) == 0 {
		return streamEvent{}, false
	}
	if len(e.stray) == 0 {
		e.stray = append(e.stray, start[:min(len(start), maxStray)]...)
	}
	switch {
	case !e.begun && (start[0] == '{' || start[0] == '[' || start[0] == '<'):
		return e.whole(start)
	case start[0] == '{':
		return streamEvent{unframed, start}, true
	case bytes.IndexByte(start, '{') >= 0:
		return streamEvent{unreadable, start}, true
	}
	return streamEvent{}, false
}

// whole returns the rest of the body as one event.
func (e *events) whole(first []byte) (streamEvent, bool) {
	body := append(bytes.Clone(first), '\n')
	rest, err := io.ReadAll(io.LimitReader(e.lines, maxEventBytes))
	switch {
	case err != nil:
		e.err = err
		return streamEvent{}, false
	case len(rest) == maxEventBytes:
		e.err = fmt.Errorf("an event is longer than %d bytes", maxEventBytes)
		return streamEvent{}, false
	}
	e.err = io.EOF
	return streamEvent{unframed, append(body, rest...)}, true
}

// eventBody is the body of a running stream: its events, and the timers that end a wait for them.
//
// After the silence timeout without a byte, expire is called and makes the next read fail. The timer starts with the
// body's first byte, because a server may send headers while the request is still queued.
type eventBody struct {
	events
	body  io.ReadCloser
	pool  *sync.Pool // Close returns lines to it
	watch *silenceWatch
}

func newEventBody(body io.ReadCloser, silence time.Duration, expire func(), pool *sync.Pool) *eventBody {
	b := &eventBody{body: body, pool: pool, watch: &silenceWatch{src: body, limit: silence, expire: expire}}
	b.lines = pool.Get().(*bufio.Reader)
	b.lines.Reset(b.watch)
	return b
}

// Read always fails, because the stream is read as events. go-openai holds the body but does not read it.
func (b *eventBody) Read([]byte) (int, error) { return 0, errors.New("read a stream past its decoder") }

// grace limits the wait for the rest of a stream whose answer is complete. Keep-alives do not extend it.
func (b *eventBody) grace(wait time.Duration, expire func()) {
	b.watch.final(wait, expire)
}

// drain reads to the body's end, so that the connection can be reused. Call it after the stream's last event. If the
// server does not end the body soon, expire is called and closes the connection.
func (b *eventBody) drain(expire func()) {
	if b.err != nil {
		return
	}
	b.watch.final(drainWait, expire)
	_, _ = io.CopyN(io.Discard, b.lines, drainBytes) // the answer is complete, so errors do not matter
}

// Close closes the connection, unless the body was read to its end.
func (b *eventBody) Close() error {
	if b.lines == nil {
		return nil
	}
	b.watch.stop()
	b.lines.Reset(nil)
	b.pool.Put(b.lines)
	b.lines, b.err = nil, errors.New("read of a closed stream")
	return b.body.Close()
}

// silenceWatch calls expire when nothing was read for the limit, from the first byte on.
type silenceWatch struct {
	src    io.Reader
	limit  time.Duration
	expire func()
	timer  *time.Timer
	last   bool // reads no longer extend the wait
}

func (w *silenceWatch) Read(p []byte) (int, error) {
	n, err := w.src.Read(p)
	if n > 0 && !w.last {
		w.touch()
	}
	return n, err
}

func (w *silenceWatch) touch() {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, w.expire)
		return
	}
	w.timer.Reset(w.limit)
}

// final replaces the limit by one that reads do not extend.
func (w *silenceWatch) final(limit time.Duration, expire func()) {
	w.stop()
	w.last = true
	w.timer = time.AfterFunc(limit, expire)
}

func (w *silenceWatch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
