package server

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// readTimeout limits the silence of a sender.
	readTimeout = time.Minute
	// minRate is the minimum rate of a sender in bytes per second, after rateGrace of waiting.
	minRate   = 16 << 10
	rateGrace = 30 * time.Second
)

// patient limits the time of a body. A large body may take long, but a silent or trickling sender fails. The limit also holds if
// the handler does not read the body, because then the server reads the rest.
func patient(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	body := &patientReader{r: r.Body, deadline: http.NewResponseController(w).SetReadDeadline}
	_ = body.deadline(time.Now().Add(readTimeout))
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
}

// patientReader sets a deadline for every read of a body.
type patientReader struct {
	r        io.Reader
	deadline func(time.Time) error
	read     int64
	waited   time.Duration // time spent in reads
}

func (p *patientReader) Read(b []byte) (int, error) {
	began := time.Now()
	_ = p.deadline(began.Add(readTimeout))
	n, err := p.r.Read(b)
	p.read += int64(n)
	p.waited += time.Since(began)
	if err == nil && p.waited > rateGrace && float64(p.read) < minRate*p.waited.Seconds() {
		err = problem(http.StatusRequestTimeout, "too-slow", "the body arrives at less than %d bytes per second", minRate)
	}
	switch {
	case errors.Is(err, io.EOF):
		_ = p.deadline(time.Time{})
	case err != nil:
		_ = p.deadline(time.Now()) // nobody waits for the rest
	}
	return n, err
}
