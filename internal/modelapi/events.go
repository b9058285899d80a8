package modelapi

import (
	"net/http"
	"time"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// eventWriter writes server-sent events. It buffers them until flush.
type eventWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	buf     []byte
	started bool // the status was sent
	err     error
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	return &eventWriter{w: w, rc: http.NewResponseController(w)}
}

// event adds an event. An empty name is omitted.
func (o *eventWriter) event(name string, data any) {
	body, err := plainjson.Marshal(data)
	if err != nil { // a value that has no JSON form is a mistake in this package
		o.err = err
		return
	}
	o.raw(name, body)
}

func (o *eventWriter) raw(name string, data []byte) {
	if name != "" {
		o.buf = append(append(append(o.buf, "event: "...), name...), '\n')
	}
	o.buf = append(append(append(o.buf, "data: "...), data...), "\n\n"...)
}

// comment adds a line that clients ignore. It keeps a connection in use while a call waits.
func (o *eventWriter) comment() { o.buf = append(o.buf, ": waiting\n\n"...) }

// flush sends the events.
func (o *eventWriter) flush() error {
	if o.err != nil || len(o.buf) == 0 {
		return o.err
	}
	if !o.started {
		o.started = true
		h := o.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		o.w.WriteHeader(http.StatusOK)
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has no deadlines
	if _, o.err = o.w.Write(o.buf); o.err == nil {
		o.err = o.rc.Flush()
	}
	o.buf = o.buf[:0]
	return o.err
}
