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

// turn identifies one turn of one job. Each job has its own prompt, and each turn has more messages than the one before.
type turn struct {
	prompt   string
	messages int
}

// answers counts model calls. It is safe for concurrent use.
type answers struct {
	mu     sync.Mutex
	calls  int          // guarded by mu; calls that reached a simulator
	whole  map[turn]int // guarded by mu; answers that a simulator completed, even if the client was gone
	failed int          // guarded by mu; answers with another status than 200
}

// twice returns the number of answers beyond the first one of each turn, of all jobs and of the job with the most.
func (a *answers) twice() (all, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ofJob := map[string]int{}
	for t, times := range a.whole {
		all += times - 1
		ofJob[t.prompt] += times - 1
		most = max(most, ofJob[t.prompt])
	}
	return all, most
}

// counts returns the numbers of calls, of completed answers, and of refused calls.
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

// before puts a counter in front of a simulator and returns its address. If a simulator does not answer or breaks off, the
// client's connection ends as well.
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

// noting adds the turn to each model call's context.
func (a *answers) noting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the caller is gone
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if t, ok := turnOf(body); ok {
			a.called()
			r = r.WithContext(context.WithValue(r.Context(), turnKey{}, t))
		}
		next.ServeHTTP(w, r)
	})
}

// watchedBody calls ended once, after it has read the mark of a stream's end.
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

// turnOf returns a request's turn.
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
