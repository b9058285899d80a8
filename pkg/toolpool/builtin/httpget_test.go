package builtin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

func getter(t *testing.T, cfg builtin.GetConfig) *toolpool.Pool {
	t.Helper()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	require.NoError(t, p.Register(builtin.HTTPGet(cfg, nil)))
	return p
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

func TestHTTPGet(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	answer := func(path, kind, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		})
	}
	answer("/page", "text/html; charset=utf-8", `<html><head><title>x</title><script>no()</script></head><body><h1>Title</h1><p>One <b>two</b> <a href="/z">three</a></p></body></html>`)
	answer("/latin1", "text/plain; charset=iso-8859-1", "caf\xe9")
	answer("/json", "application/json", `{"a":1}`)
	answer("/image", "image/png", "\x89PNG")
	answer("/liar", "text/plain", "\x89PNG\xff")
	answer("/odd", "text/plain; charset=klingon", "x")
	answer("/deep", "text/html", strings.Repeat("<div>", 400_000)+"end")
	answer("/quotes", "text/html", strings.Repeat("<blockquote><ul><li>", 400)+"end")
	answer("/long", "text/plain", strings.Repeat("é", 3<<20))
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("u"), http.StatusFound)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	p := getter(t, builtin.GetConfig{AllowNetworks: loopback})
	for _, c := range []struct {
		url, want string
		failed    bool
	}{
		{"/page", "# Title\n\nOne **two** [three](/z)", false},
		{"/latin1", "café", false},
		{"/json", `{"a":1}`, false},
		{"/to?u=/json", `{"a":1}`, false},
		{"/image", `"image/png", which cannot be read as text`, true},
		{"/liar", "not UTF-8 text", true},
		{"/odd", "encoding \"klingon\"", true},
		{"/none", "the server answered 404", true},
		{"/to?u=http://127.0.0.2:9/", "not on the public network", true},
		{"/to?u=http://169.254.169.254/latest/meta-data/", "not on the public network", true},
		{"/to?u=http://[::1]:9/", "not on the public network", true},
		{"/to?u=file:///etc/passwd", "must begin with https:// or http://", true},
		{"/to?u=/to%3Fu=/to%253Fu=/to%25253Fu=/to%2525253Fu=/to%252525253Fu=/to", "redirects", true},
	} {
		r := use(t, p, "http_get", args{"url": server.URL + c.url})
		assert.Equal(t, c.failed, r.Failed, "%s: %.300s", c.url, r.Content)
		assert.Contains(t, r.Content, c.want, c.url)
	}
	for _, path := range []string{"/deep", "/quotes"} { // a page must not crash the worker
		assert.NotEmpty(t, use(t, p, "http_get", args{"url": server.URL + path}).Content)
	}
	r := use(t, p, "http_get", args{"url": server.URL + "/long"})
	assert.False(t, r.Failed)
	assert.LessOrEqual(t, len(r.Content), 128<<10)
	assert.Contains(t, r.Content, "[cut: ")
}

// Addresses are checked after names are resolved, so localhost and odd spellings of addresses are blocked too.
func TestHTTPGetReachesNothingPrivate(t *testing.T) {
	t.Parallel()
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	port := server.URL[strings.LastIndex(server.URL, ":")+1:]
	p := getter(t, builtin.GetConfig{})
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "0.0.0.0", "[::]",
		"10.1.2.3", "172.31.0.1", "192.168.1.1", "100.100.100.200", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]",
		"[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "168.63.129.16", "224.0.0.1",
		"255.255.255.255", "192.0.0.192", "198.18.0.1",
	} {
		r := use(t, p, "http_get", args{"url": fmt.Sprintf("http://%s:%s/", host, port)})
		assert.True(t, r.Failed, host)
		assert.Contains(t, r.Content, "not on the public network", host)
	}
	// Some resolvers parse these as addresses, like inet_aton.
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0x7f.1", "localhost.", "%6c%6f%63%61%6c%68%6f%73%74", "⑫7.0.0.1", "127。0。0。1"} {
		r := use(t, p, "http_get", args{"url": fmt.Sprintf("http://%s:%s/", host, port)})
		assert.True(t, r.Failed, "%s: %s", host, r.Content)
	}
	for _, u := range []string{"ftp://x.org/", "file:///etc/passwd", "http://", "http://u:p@127.0.0.1/", "gopher://127.0.0.1", "", "http://a b"} {
		assert.True(t, use(t, p, "http_get", args{"url": u}).Failed, u)
	}
	assert.False(t, asked)
}

func TestHTTPGetAllowList(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://other.example.net/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("here"))
	}))
	defer server.Close()
	p := getter(t, builtin.GetConfig{AllowHosts: []string{"127.0.0.1", "*.Example.com"}, AllowNetworks: loopback})
	assert.Equal(t, "here", use(t, p, "http_get", args{"url": server.URL}).Content)
	for _, u := range []string{server.URL + "/away", "http://example.com.evil.net/", "http://example.com/", "http://notexample.com/"} {
		assert.Contains(t, use(t, p, "http_get", args{"url": u}).Content, "may not reach the host", u)
	}
	p = getter(t, builtin.GetConfig{AllowHosts: []string{"*example.com"}})
	assert.Contains(t, use(t, p, "http_get", args{"url": "http://evilexample.com/"}).Content, "may not reach the host")
}

func TestHTTPGetOfMissingHost(t *testing.T) {
	t.Parallel()
	p := getter(t, builtin.GetConfig{})
	assert.True(t, use(t, p, "http_get", args{"url": "http://no-such-host.invalid/"}).Failed)
}
