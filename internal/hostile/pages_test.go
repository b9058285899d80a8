package hostile

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"golang.org/x/text/encoding/unicode"
)

// fill writes a text repeatedly, about size bytes in all.
func fill(w io.Writer, text string, size int) {
	piece := []byte(strings.Repeat(text, 1+(64<<10)/len(text)))
	for written := 0; written < size; written += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// pages are the answers of hostile servers, by path.
var pages = map[string]func(w http.ResponseWriter){
	"/tables": func(w http.ResponseWriter) { fill(w, "<table><tr><td>", 2<<20) },
	"/cells":  func(w http.ResponseWriter) { fill(w, "<table><tr><td>a</td><th>b</th></tr></table>", 2<<20) },
	"/wide": func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "<table><tr>")
		fill(w, "<td colspan=1000>x", 2<<20)
		_, _ = io.WriteString(w, "</tr><tr><td>y</td></tr></table>")
	},
	"/lists":      func(w http.ResponseWriter) { fill(w, "<ul><li>x<ol><li>y", 2<<20) },
	"/items":      func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<ol start=999999999>"); fill(w, "<li>x", 2<<20) },
	"/svg":        func(w http.ResponseWriter) { fill(w, "<svg><foreignObject><math><mtext>", 2<<20) },
	"/inline":     func(w http.ResponseWriter) { fill(w, "<b><i><a href=x><font>y", 1<<20) },
	"/unclosed":   func(w http.ResponseWriter) { fill(w, "<p <div a='", 2<<20) },
	"/attributes": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<p "); fill(w, "a=b ", 10<<20) },
	"/attribute":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<a href='"); fill(w, "x", 10<<20) },
	"/entities":   func(w http.ResponseWriter) { fill(w, "&CounterClockwiseContourIntegral;&#1114111;&amp", 2<<20) },
	"/comment":    func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<!--"); fill(w, "--!", 2<<20) },
	"/select":     func(w http.ResponseWriter) { fill(w, "<select><option><select><template>", 2<<20) },
	"/pre":        func(w http.ResponseWriter) { fill(w, "<pre>\n`````\n</pre><code>``</code>", 2<<20) },
	"/emphasis":   func(w http.ResponseWriter) { fill(w, "*_[](<`\\#", 2<<20) },
	"/frameset":   func(w http.ResponseWriter) { fill(w, "<frameset><frame src=x><form><button><p>", 2<<20) },
	"/gzip": func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fill(z, "<p>x", 512<<20)
		_ = z.Close()
	},
	"/gzips": func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip, gzip")
		z := gzip.NewWriter(w)
		fill(z, "x", 8<<20)
		_ = z.Close()
	},
	"/brotli": func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "br"); fill(w, "\xff\x00\x81", 1<<20) },
	"/utf16": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-16")
		enc := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder()
		fill(enc.Writer(w), "<blockquote>ä", 4<<20)
	},
	"/charset": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset="+strings.Repeat("x", 5_000))
		fill(w, "x", 1)
	},
	"/type": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", strings.Repeat("x", 100_000))
		fill(w, "x", 1)
	},
	"/invalid":  func(w http.ResponseWriter) { fill(w, "\xff\xfe\x00<p>", 1<<20) },
	"/endless":  func(w http.ResponseWriter) { fill(w, "<div>", 1<<40) },
	"/redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "/redirect"); w.WriteHeader(http.StatusFound) },
	"/inward": func(w http.ResponseWriter) {
		w.Header().Set("Location", "http://169.254.169.254/")
		w.WriteHeader(http.StatusFound)
	},
	"/file": func(w http.ResponseWriter) {
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(http.StatusFound)
	},
	"/headers": func(w http.ResponseWriter) {
		for i := range 200 {
			w.Header().Set("X-"+strings.Repeat("a", i+1), strings.Repeat("b", 10_000))
		}
	},
}

// pageAttacks are the attacks of web pages. Each ends in text or in an error.
func pageAttacks(service string) []attack {
	want := map[string]string{
		"/redirect": "redirects", "/inward": "not on the public network", "/file": "must begin with", "/charset": "not known", "/type": "cannot be read",
		"/invalid": "not UTF-8", "/gzips": "Error", "/brotli": "not UTF-8",
	}
	var all []attack
	for path := range pages {
		all = append(all, attack{"page" + path, "http_get", object{"url": service + path}, want[path]})
	}
	for _, address := range []string{
		"http://127.1:1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:10.0.0.1]/", "http://[fe80::1%25eth0]/", "http://[64:ff9b::a00:1]/", "http://0/",
		"http://localhost:1/", "gopher://h/", "http://user:password@example.com/", "http:///x", "http://[::1]:1/", "http://100.64.0.1/", "http://198.18.0.1/", "http://224.0.0.1/",
	} {
		all = append(all, attack{"address " + strings.NewReplacer("/", "", ":", "_").Replace(address), "http_get", object{"url": address}, "Error"})
	}
	return all
}
