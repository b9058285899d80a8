package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// turn is one turn of one job: the job's prompt is its own, and its conversation is one longer in each turn.
type turn struct {
	prompt   string
	messages int
}

// answers counts model calls. It is safe for concurrent use.
type answers struct {
	mu     sync.Mutex
	calls  int          // guarded by mu; that reached a simulator
	whole  map[turn]int // guarded by mu; that a simulator answered to the end, whoever still listened
	failed int          // guarded by mu; with another status than 200
}

// twice is how many answers there were beyond the first one of each turn.
func (a *answers) twice() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, times := range a.whole {
		n += times - 1
	}
	return n
}

// counts are the calls that were made, those of them that were answered to the end, and those that were refused.
func (a *answers) counts() (calls, whole, failed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.whole {
		whole += times
	}
	return a.calls, whole, a.failed
}

func (a *answers) called() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
}

func (a *answers) refused() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed++
}

func (a *answers) ended(t turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.whole[t]++
}

// before puts a counter before a simulator and returns its address. A simulator that does not answer, or breaks off, does so through it
// too: the connection ends.
func (a *answers) before(simulator string) (address string, server *http.Server, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("count the answers of a simulator: %w", err)
	}
	silent := log.New(io.Discard, "", 0)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: simulator})
	proxy.FlushInterval, proxy.ErrorLog = -1, silent
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: workers * slots}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	proxy.ModifyResponse = func(r *http.Response) error {
		t, ok := r.Request.Context().Value(turnKey{}).(turn)
		switch {
		case !ok:
		case r.StatusCode != http.StatusOK:
			a.refused()
		default:
			r.Body = &watchedBody{ReadCloser: r.Body, ended: func() { a.ended(t) }}
		}
		return nil
	}
	server = &http.Server{ErrorLog: silent, Handler: a.noting(proxy)}
	go func() { _ = server.Serve(l) }() // ends with Close
	return l.Addr().String(), server, nil
}

type turnKey struct{}

// noting gives each model call's context its turn.
func (a *answers) noting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the caller went away
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if t, ok := turnOf(body); ok {
			a.called()
			r = r.WithContext(context.WithValue(r.Context(), turnKey{}, t))
		}
		next.ServeHTTP(w, r)
	})
}

// watchedBody calls ended once, when the mark of a stream's end has been read.
type watchedBody struct {
	io.ReadCloser
	tail  []byte
	ended func()
}

var endOfStream = []byte("data: [DONE]")

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.ended == nil {
		return n, err
	}
	b.tail = append(b.tail, p[:n]...)
	if bytes.Contains(b.tail, endOfStream) {
		b.ended()
		b.ended, b.tail = nil, nil
	} else if over := len(b.tail) - len(endOfStream); over > 0 {
		b.tail = append(b.tail[:0], b.tail[over:]...)
	}
	return n, err
}

// turnOf reads a request's turn.
func turnOf(body []byte) (turn, bool) {
	var req struct {
		Messages []struct {
			Role    string `json:"role"`
			Content any    `json:"content"`
		} `json:"messages"`
	}
	if json.Unmarshal(body, &req) != nil {
		return turn{}, false
	}
	for _, m := range req.Messages {
		if m.Role == "user" {
			return turn{fmt.Sprint(m.Content), len(req.Messages)}, true
		}
	}
	return turn{}, false
}
