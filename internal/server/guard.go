package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/pkg/loopback"
)

const (
	sessionCookie = "batchagent_session"
	sessionLife   = 12 * time.Hour
)

// guarded wraps a handler with the checks of every request: host name, rate of the client and token. For requests that
// change something it also checks the origin. It also writes the log and sets security headers.
func (s *Server) guarded(next http.Handler) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &recorder{ResponseWriter: w}
		began := time.Now()
		defer func() {
			s.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", seen.status, "client", clientOf(r), "ms", time.Since(began).Milliseconds())
		}()
		h := seen.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		patient(w, r)
		if p := s.refuse(r, sameSite); p != nil {
			s.fail(seen, r, p)
			return
		}
		next.ServeHTTP(seen, r)
	})
}

// refuse returns the reason to reject a request; nil to accept it.
func (s *Server) refuse(r *http.Request, sameSite *http.CrossOriginProtection) *Problem {
	if s.cfg.Token == "" && !loopback.Host(hostOf(r)) {
		return problem(http.StatusMisdirectedRequest, "host", "this server has no token and answers to 127.0.0.1 and localhost only, not to %q", r.Host)
	}
	open := openPath(r.URL.Path)
	if !(open && r.Method == http.MethodGet) && !s.limiterOf(clientOf(r)).Allow() {
		p := problem(http.StatusTooManyRequests, "rate", "too many requests: one client may make %g per second", s.cfg.Rate)
		p.retryAfter = 1
		return p
	}
	if err := sameSite.Check(r); err != nil {
		return problem(http.StatusForbidden, "cross-site", "the request comes from another site: %v", err)
	}
	if !open && !s.mayEnter(r) {
		return problem(http.StatusUnauthorized, "token", "a token is needed: send it as `Authorization: Bearer TOKEN`")
	}
	return nil
}

// openPath reports whether a path needs no token.
func openPath(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/openapi.json", "/login":
		return true
	}
	return strings.HasPrefix(path, "/assets/")
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return strings.Trim(r.Host, "[]")
	}
	return host
}

// clientOf returns the client's address without its port.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (s *Server) limiterOf(client string) *rate.Limiter {
	fresh := rate.NewLimiter(rate.Limit(s.cfg.Rate), int(2*s.cfg.Rate)+1)
	if old, known, _ := s.clients.PeekOrAdd(client, fresh); known {
		s.clients.Get(client) // mark it as recently used
		return old
	}
	return fresh
}

// mayEnter reports whether a request has the token, or a cookie that was signed with it.
func (s *Server) mayEnter(r *http.Request) bool {
	if s.cfg.Token == "" {
		return true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "bearer") {
		return s.isToken(strings.TrimSpace(token))
	}
	c, err := r.Cookie(sessionCookie)
	return err == nil && s.isSession(c.Value, time.Now())
}

// isToken compares in constant time, independent of the length.
func (s *Server) isToken(token string) bool {
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.cfg.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// session returns a cookie's value: the end of the session and a signature with the token. All servers with the same
// token accept it. A new token invalidates it.
func (s *Server) session(end time.Time) string {
	text := strconv.FormatInt(end.Unix(), 10)
	return text + "." + s.sign(text)
}

func (s *Server) sign(text string) string {
	m := hmac.New(sha256.New, []byte(s.cfg.Token))
	m.Write([]byte("batchagent session until " + text))
	return hex.EncodeToString(m.Sum(nil))
}

func (s *Server) isSession(value string, now time.Time) bool {
	text, signature, _ := strings.Cut(value, ".")
	end, err := strconv.ParseInt(text, 10, 64)
	return err == nil && hmac.Equal([]byte(signature), []byte(s.sign(text))) && now.Unix() < end
}

// fail writes a problem: JSON for programs, and a page for browsers.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, p *Problem) {
	if p.Status >= http.StatusInternalServerError {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "error", p.Detail)
	}
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		return // the answer has started; it ends early
	}
	if strings.HasPrefix(r.URL.Path, "/api/") || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		p.write(w)
		return
	}
	if p.Status == http.StatusUnauthorized {
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.Path), http.StatusSeeOther)
		return
	}
	s.errorPage(w, p)
}

// recorder records the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap gives [http.ResponseController] access to the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
