package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestListenWithoutTokenIsLoopbackOnly(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "0.0.0.0:0": false, ":0": false, "example.org:80": false, "nonsense": false} {
		l, err := Listen(t.Context(), addr, false)
		if !ok {
			require.Error(t, err, addr)
			if addr != "nonsense" {
				assert.ErrorContains(t, err, "BATCHAGENT_API_TOKEN", addr)
			}
			continue
		}
		if strings.Contains(addr, "::1") && err != nil {
			continue // a machine without IPv6
		}
		require.NoError(t, err, addr)
		require.NoError(t, l.Close())
	}
	l, err := Listen(t.Context(), "0.0.0.0:0", true)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// Every path requires the token, except the open ones.
func TestPathsRequireToken(t *testing.T) {
	w := serve(t, func(c *Config) { c.Token = "right" })
	id := w.batch("b", 1)
	w.token = ""
	for _, r := range w.srv.routes() {
		method, path := r.split()
		path = strings.NewReplacer("{batch}", string(id), "{index}", "0", "{file}", "style.css", "{$}", "").Replace(path)
		for _, show := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"Authorization", "Basic right"}, {"Cookie", sessionCookie + "=right"}, {"Cookie", sessionCookie + "=99999999999.00"}} {
			a := w.ask(method, path, "", show...)
			if openPath(path) {
				assert.NotEqual(t, "urn:batchagent:problem:token", a.body, r.pattern)
				continue
			}
			p := a.problem(t)
			assert.Equal(t, http.StatusUnauthorized, p.Status, "%s with %s", r.pattern, show)
			assert.Contains(t, a.header.Get("WWW-Authenticate"), "Bearer")
		}
	}
	assert.Equal(t, http.StatusOK, w.ask("GET", "/api/v1/batches", "", "Authorization", "Bearer right").status)
	a := w.ask("GET", "/batches/"+string(id), "", "Accept", "text/html")
	assert.Equal(t, http.StatusSeeOther, a.status)
	assert.Equal(t, "/login?next=%2Fbatches%2F"+string(id), a.header.Get("Location"))
}

func TestLogin(t *testing.T) {
	w := serve(t, func(c *Config) { c.Token = "right" })
	w.token = ""
	login := func(token, next string) answered {
		return w.ask("POST", "/login", url.Values{"token": {token}, "next": {next}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	a := login("wrong", "/")
	assert.Equal(t, http.StatusUnauthorized, a.status)
	assert.Contains(t, a.body, "This is not the token.")
	assert.Empty(t, a.header.Get("Set-Cookie"))
	a = login("right", "/workers")
	require.Equal(t, http.StatusSeeOther, a.status)
	assert.Equal(t, "/workers", a.header.Get("Location"))
	cookie := a.header.Get("Set-Cookie")
	for _, has := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		assert.Contains(t, cookie, has)
	}
	assert.NotContains(t, cookie, "right", "the cookie does not hold the token")
	pair, _, _ := strings.Cut(cookie, ";")
	assert.Equal(t, http.StatusOK, w.ask("GET", "/workers", "", "Cookie", pair).status)
	assert.Contains(t, w.ask("POST", "/logout", "", "Cookie", pair).header.Get("Set-Cookie"), "Max-Age=0")
	for _, elsewhere := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "javascript:alert(1)"} {
		assert.Equal(t, "/", login("right", elsewhere).header.Get("Location"), elsewhere)
	}
	tries := 0
	for range 20 {
		if login("wrong", "/").status == http.StatusTooManyRequests {
			tries++
		}
	}
	assert.Positive(t, tries, "wrong guesses are limited")
}

func TestSessionExpiresAndCannotBeForged(t *testing.T) {
	a, b := &Server{cfg: Config{Token: "a"}}, &Server{cfg: Config{Token: "b"}}
	now := time.Now()
	s := a.session(now.Add(time.Hour))
	assert.True(t, a.isSession(s, now))
	assert.False(t, a.isSession(s, now.Add(2*time.Hour)), "expired")
	assert.False(t, b.isSession(s, now), "another token")
	_, signature, _ := strings.Cut(s, ".")
	assert.False(t, a.isSession("99999999999."+signature, now), "a later end")
}

// A form on another site has no effect, even in a browser with the cookie. A foreign host name that resolves to this
// server is rejected.
func TestOtherSites(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 1)
	for _, path := range []string{"/batches/" + string(id) + "/cancel", "/api/v1/batches/" + string(id) + "/cancel"} {
		for _, h := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
			a := w.ask("POST", path, "", h...)
			assert.Equal(t, http.StatusForbidden, a.status, "%s %s", path, h)
		}
	}
	info, err := w.store.Info(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 1, info.Counts.Waiting)

	r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/batches", nil)
	require.NoError(t, err)
	r.Host = "evil.example"
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
}

// No answer and no log line contains the token or Redis' password (I9).
func TestSecretsStayInside(t *testing.T) {
	const token = "planted-api-token"
	w := serve(t, func(c *Config) { c.Token = token })
	running, done := w.scene()
	var all strings.Builder
	everything := func() {
		for _, r := range w.srv.routes() {
			method, path := r.split()
			if strings.HasPrefix(path, "/live/") || strings.HasSuffix(path, "/events") && method == "GET" {
				continue // endless streams; the pages have the same content
			}
			for _, id := range []string{string(running), string(done), "nonsense"} {
				p := strings.NewReplacer("{batch}", id, "{index}", "10", "{file}", "live.js", "{$}", "").Replace(path)
				for _, accept := range []string{"text/html", "application/json"} {
					a := w.ask(method, p, "token=x", "Accept", accept, "Content-Type", "application/x-www-form-urlencoded")
					all.WriteString(a.body)
					for name, values := range a.header {
						all.WriteString(name + strings.Join(values, " "))
					}
				}
			}
		}
	}
	everything()
	w.redis.RequireAuth("another")
	w.redis.Close() // messages about an outage are checked, too
	for _, path := range []string{"/", "/readyz", "/api/v1/batches", "/api/v1/batches/" + string(done)} {
		a := w.ask("GET", path, "", "Accept", "text/html")
		assert.Equal(t, http.StatusServiceUnavailable, a.status, path)
		all.WriteString(a.body)
	}
	all.WriteString(w.log.String())
	assert.Greater(t, all.Len(), 50_000)
	assert.NotContains(t, all.String(), token)
	assert.NotContains(t, all.String(), redisPassword)
}
