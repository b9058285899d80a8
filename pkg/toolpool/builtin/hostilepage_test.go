package builtin_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

// A page costs bounded time and memory at any nesting, and its text is returned.
func TestHTTPGetConvertsHostilePages(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"480 quotes of 106 KB": strings.Repeat("<blockquote>", 480) + strings.Repeat("<p>line</p>\n", 9000) + "end",
		"480 lists":            strings.Repeat("<ul><li>x", 240) + "end",
		"tables within tables": strings.Repeat("<table><tr><td>", 60) + "end",
		"400000 divs":          strings.Repeat("<div>", 400_000) + "end",
		"unclosed emphasis":    strings.Repeat("<b><i>", 20_000) + "end",
		"many links":           strings.Repeat(`<a href="x">`, 50_000) + "end",
	}
	paths := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(pages[paths[r.URL.Path]]))
	}))
	defer server.Close()
	p := getter(t, builtin.GetConfig{AllowNetworks: loopback})
	for name := range pages {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		paths[path] = name
	}
	for path, name := range paths {
		r := use(t, p, "http_get", args{"url": server.URL + path})
		assert.False(t, r.Failed && !strings.Contains(r.Content, "was stopped"), "%s: %.300s", name, r.Content)
		t.Logf("%s: %d bytes, failed %v: %.80q", name, len(r.Content), r.Failed, r.Content)
	}
}
