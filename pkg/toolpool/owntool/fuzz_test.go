package owntool

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// An argument never leaves its folder, however often and leniently a server decodes the path.
func FuzzHTTPPath(f *testing.F) {
	for _, s := range []string{"rome", "..", "../../admin", "%2e%2e%2fadmin", "..%2fadmin%zz", "..;x", ".. /a", "a//..", "%252e%252e", "..\\a", "?a#b", ".%00./a"} {
		f.Add(s, "x")
		f.Add("a", s)
	}
	h := HTTP{Method: "GET", URL: "http://h/v1/{city}/{day}/now"}
	f.Fuzz(func(t *testing.T, city, day string) {
		req, err := h.request(t.Context(), map[string]any{"city": city, "day": day}, nil)
		if err != nil {
			return
		}
		if req.URL.Host != "h" || req.URL.RawQuery != "" || req.URL.Fragment != "" {
			t.Fatalf("%q", req.URL)
		}
		at := req.URL.EscapedPath()
		for range 4 {
			if !within(at) {
				t.Fatalf("%q leads to %q", req.URL, at)
			}
			at = lenient(at)
		}
	})
}

// within resolves a path as careless servers do.
func within(at string) bool {
	at = strings.ReplaceAll(at, "\\", "/")
	return strings.HasPrefix(path.Clean(at)+"/", "/v1/")
}

// lenient decodes the valid escapes and keeps the rest.
func lenient(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				out.WriteString(c)
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
