package vllmsim

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Faults are injected faults. Rates are 0..1, per request and independent of each other. The seed, the conversation and its
// number of repetitions decide which requests they hit; the order of arrival does not. The zero value has no faults.
type Faults struct {
	Status503 float64 // answers 503 as if the queue were full
	Status500 float64 // answers 500
	Status429 float64 // answers 429 with Retry-After: 1
	Cut       float64 // closes the connection before the end of the answer
	Hang      float64 // sends nothing after the first event; without streaming, never answers
	Slow      float64 // adds SlowMS before the first token
	SlowMS    float64 // milliseconds
	Malformed float64 // sends tool arguments that are not JSON
	Invalid   float64 // sends a final answer that violates its schema
	Every     int     // every Nth forward pass fails with 500 after its usual time; 0 never
}

func (f Faults) validate() error {
	var errs []error
	for _, r := range f.rates() {
		if !(r.rate >= 0 && r.rate <= 1) {
			errs = append(errs, fmt.Errorf("fault-%s-rate must be between 0 and 1, got %g", r.name, r.rate))
		}
	}
	if f.SlowMS < 0 {
		errs = append(errs, fmt.Errorf("fault-slow-ms must not be negative, got %g", f.SlowMS))
	}
	if f.Every < 0 {
		errs = append(errs, fmt.Errorf("fault-every must not be negative, got %d", f.Every))
	}
	return errors.Join(errs...)
}

type faultRate struct {
	name string
	rate float64
	set  func(p *faultPlan, f *Faults, draw uint64)
}

func (f Faults) rates() []faultRate {
	return []faultRate{
		{"503", f.Status503, func(p *faultPlan, _ *Faults, _ uint64) { p.status = http.StatusServiceUnavailable }},
		{"500", f.Status500, func(p *faultPlan, _ *Faults, _ uint64) { p.status = http.StatusInternalServerError }},
		{"429", f.Status429, func(p *faultPlan, _ *Faults, _ uint64) { p.status = http.StatusTooManyRequests }},
		{"cut", f.Cut, func(p *faultPlan, _ *Faults, draw uint64) { p.cutEvents = 1 + int(draw%2) }},
		{"hang", f.Hang, func(p *faultPlan, _ *Faults, _ uint64) { p.hang = true }},
		{"slow", f.Slow, func(p *faultPlan, f *Faults, _ uint64) { p.delay += milliseconds(f.SlowMS) }},
		{"malformed", f.Malformed, func(p *faultPlan, _ *Faults, _ uint64) { p.malformed = true }},
		{"invalid", f.Invalid, func(p *faultPlan, _ *Faults, _ uint64) { p.invalid = true }},
	}
}

// faultPlan lists the faults of one request.
type faultPlan struct {
	status    int
	cutEvents int // events to send before the connection closes; 0 does not cut
	cutBytes  int // the same in bytes of the body
	hang      bool
	delay     time.Duration
	malformed bool
	invalid   bool
}

func (p *faultPlan) cuts() bool { return p.cutEvents > 0 || p.cutBytes > 0 }

// injector decides the faults of each request. It is safe for concurrent use.
type injector struct {
	seed   uint64
	faults atomic.Pointer[Faults]
	passes atomic.Uint64

	mu   sync.Mutex
	seen *lru.Cache[uint64, uint64] // how often a conversation was sent; mu guards each read and increment
}

// seenLimit is the number of conversations whose repetitions are counted.
const seenLimit = 65_536

func newInjector(seed uint64, f Faults) (*injector, error) {
	seen, err := lru.New[uint64, uint64](seenLimit)
	if err != nil {
		return nil, fmt.Errorf("fault memory: %w", err)
	}
	i := &injector{seed: mix(seed + 0x5eed), seen: seen}
	i.set(f)
	return i, nil
}

// set replaces the faults and resets the counts of passes and repetitions.
func (i *injector) set(f Faults) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults.Store(&f)
	i.passes.Store(0)
	i.seen.Purge()
}

// plan decides the faults of a request, from the rates and its headers.
func (i *injector) plan(h http.Header, conversation uint64) (faultPlan, *apiError) {
	var p faultPlan
	if f := i.faults.Load(); *f != (Faults{Every: f.Every}) {
		i.mu.Lock()
		times, _ := i.seen.Get(conversation)
		i.seen.Add(conversation, times+1)
		i.mu.Unlock()
		base := i.seed ^ mix(conversation+times)
		for n, r := range f.rates() {
			draw := mix(base + uint64(n)*0x9e3779b97f4a7c15)
			if float64(draw>>11)/(1<<53) < r.rate {
				r.set(&p, f, draw)
			}
		}
	}
	return p, p.readHeaders(h)
}

// passFails counts one forward pass and reports whether it must fail.
func (i *injector) passFails() (number uint64, fails bool) {
	number = i.passes.Add(1)
	every := i.faults.Load().Every
	return number, every > 0 && number%uint64(every) == 0
}

// Request headers that inject a fault.
const (
	headerStatus    = "X-Sim-Status"    // an HTTP status from 400 to 599
	headerCutAfter  = "X-Sim-Cut-After" // "3" events, or "500b" bytes of the body
	headerHang      = "X-Sim-Hang"      // any value except "" and "0"
	headerDelay     = "X-Sim-Delay-Ms"  // milliseconds before the first token
	headerToolTurns = "X-Sim-Tool-Turns"
)

func (p *faultPlan) readHeaders(h http.Header) *apiError {
	if v := h.Get(headerStatus); v != "" {
		status, err := strconv.Atoi(v)
		if err != nil || status < 400 || status > 599 {
			return badRequest("%s must be a status from 400 to 599, got %q", headerStatus, v)
		}
		p.status = status
	}
	if v := h.Get(headerCutAfter); v != "" {
		digits, bytes := strings.CutSuffix(v, "b")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 {
			return badRequest("%s must be a number of events such as 3, or of bytes such as 500b, got %q", headerCutAfter, v)
		}
		if bytes {
			p.cutBytes = n
		} else {
			p.cutEvents = n
		}
	}
	if v := h.Get(headerHang); v != "" && v != "0" {
		p.hang = true
	}
	if v := h.Get(headerDelay); v != "" {
		ms, err := strconv.ParseFloat(v, 64)
		if err != nil || !(ms >= 0 && ms <= 86_400_000) {
			return badRequest("%s must be milliseconds, got %q", headerDelay, v)
		}
		p.delay += milliseconds(ms)
	}
	return nil
}

// faultError returns the body of an injected status.
func faultError(status int) *apiError {
	switch status {
	case http.StatusServiceUnavailable:
		return errBusy
	case http.StatusTooManyRequests:
		return &apiError{status: status, kind: http.StatusText(status), message: "simulated fault: too many requests", retryAfter: 1}
	case http.StatusInternalServerError:
		return &apiError{status: status, kind: "InternalServerError", message: "simulated fault: generation failed"}
	default:
		return &apiError{status: status, kind: http.StatusText(status), message: fmt.Sprintf("simulated fault: status %d", status)}
	}
}
