package server

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestPages(t *testing.T) {
	w := serve(t, nil)
	empty := w.ask("GET", "/", "").body
	assert.Contains(t, empty, "No batch yet")
	assert.Contains(t, w.ask("GET", "/workers", "").body, "No worker is alive")
	running, done := w.scene()
	for path, says := range map[string][]string{
		"/":                           {"paper-extraction", "support-tickets", "210 of 400", "running", "done with failures", "24 of 240 jobs failed", string(running)},
		"/batches/" + string(running): {"Progress", "52%", "node-1, node-2", "Cancel batch", "OutputInvalid", "Slowest jobs", "/jobs/190?cursor=191", "75%"},
		"/batches/" + string(done):    {"done", "Run 24 failed again", "BackendUnavailable", "How long jobs took", "Where the agents&#39; time went", "Bound by tool calls"},
		"/batches/" + string(running) + "/jobs/210": {"Turn 1", "files.search", "&lt;script&gt;alert(1)&lt;/script&gt;", "2 tool calls, 1 shared", "Answer again", "The paper may be &lt;b&gt;long&lt;/b&gt;."},
		"/batches/" + string(done) + "/jobs/10":     {"OutputInvalid", "its journal is dropped", "papers/0010.txt"},
		"/workers":                                  {"node-3", "unready", "75% of 412,000", "37 of 64", "70%", "1,873"},
		"/tools":                                    {"files.search", "Shared or cached", "75%", "3,600", "46m30s", "2h19m"},
	} {
		a := w.ask("GET", path, "", "Accept", "text/html")
		require.Equal(t, http.StatusOK, a.status, path)
		for _, s := range says {
			assert.Contains(t, a.body, s, path)
		}
		assert.NotContains(t, a.body, "<script>alert", path)
		wellFormed(t, path, a.body)
	}
	a := w.ask("GET", "/batches/b_01k0000000000000000000000a", "", "Accept", "text/html")
	assert.Equal(t, http.StatusNotFound, a.status)
	assert.Contains(t, a.body, "no such batch")
}

// A batch and its stages link to each other, and share one row of the list.
func TestPagesOfStages(t *testing.T) {
	w := serve(t, nil)
	a := w.submit(`{"spec":{"name":"survey","task":"Answer {item}","plan":{"task":"Which?"},"reduce":{"task":"Sum up"},"prices":{"prompt":1,"completion":2}}}`)
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var s Submitted
	a.json(t, &s)
	other := w.batch("alone", 1)
	front := w.ask("GET", "/", "").body
	wellFormed(t, "/", front)
	assert.Equal(t, 2, strings.Count(front, `<th scope="row">`), "two batches")
	for _, id := range []batch.ID{s.ID, s.ID.ForStage(batch.StagePlan), s.ID.ForStage(batch.StageReduce), other} {
		assert.Contains(t, front, `href="/batches/`+string(id)+`"`)
	}
	whole := w.ask("GET", "/batches/"+string(s.ID), "").body
	wellFormed(t, "/batches/"+string(s.ID), whole)
	for _, stage := range []batch.ID{s.ID.ForStage(batch.StagePlan), s.ID.ForStage(batch.StageReduce)} {
		assert.Contains(t, whole, `href="/batches/`+string(stage)+`"`)
		page := w.ask("GET", "/batches/"+string(stage), "").body
		wellFormed(t, string(stage), page)
		assert.Contains(t, page, `href="/batches/`+string(s.ID)+`"`, "back to the batch")
		assert.NotContains(t, page, `id="stages"`)
	}
	assert.Contains(t, whole, "$0.00")
	alone := w.ask("GET", "/batches/"+string(other), "").body
	assert.NotContains(t, alone, `id="stages"`)
	assert.NotContains(t, alone, "without the prefix cache")
}

// wellFormed checks for HTML errors that browsers correct silently and for accessibility. It also checks that the page
// has no external or inline content, which its security policy forbids.
func wellFormed(t *testing.T, path, text string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	ids := map[string]bool{}
	headings := 0
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
			assert.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style", "%s: <%s> has %s", path, n.Data, a.Key)
			if a.Key == "href" || a.Key == "src" || a.Key == "action" {
				assert.True(t, strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "#"), "%s links to %s", path, a.Val)
			}
		}
		if id := attr["id"]; id != "" {
			assert.False(t, ids[id], "%s has two elements %s", path, id)
			ids[id] = true
		}
		switch n.Data {
		case "h1":
			headings++
		case "th":
			assert.NotEmpty(t, attr["scope"], path)
		case "svg":
			assert.True(t, attr["aria-label"] != "" || attr["aria-hidden"] != "", "%s has a picture without a label", path)
		case "script":
			assert.Nil(t, n.FirstChild, "%s has an inline script", path)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	assert.Equal(t, 1, headings, path)
}

func TestHeadersKeepBrowsersStrict(t *testing.T) {
	w := serve(t, nil)
	for _, path := range []string{"/", "/api/v1/batches", "/assets/style.css", "/nothing"} {
		h := w.ask("GET", path, "").header
		assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
		assert.NotContains(t, h.Get("Content-Security-Policy"), "unsafe", path)
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
	}
	assert.Equal(t, http.StatusNotFound, w.ask("GET", "/assets/nothing.js", "").status)
	assert.Equal(t, http.StatusNotFound, w.ask("GET", "/assets/..%2f..%2fserver.go", "").status)
}

// An open page is sent again only if it has changed.
func TestLivePageSendsChanges(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("alive", 4)
	n := 0
	w.follow(t.Context(), "/live/batches/"+string(id), func(e event) bool {
		require.Equal(t, "page", e.name)
		var content string
		require.NoError(t, json.Unmarshal([]byte(e.data), &content))
		n++
		if n == 1 {
			assert.Contains(t, content, "0 of 4")
			w.finish(w.claim(id, 4))
			return true
		}
		return !strings.Contains(content, "4 of 4")
	})
	assert.Greater(t, n, 1)
	assert.Equal(t, http.StatusNotFound, w.ask("GET", "/live/batches/b_01k0000000000000000000000a", "").status)
}

func TestButtons(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 20)
	w.finish(w.claim(id, 20))
	page := "/batches/" + string(id)
	a := w.ask("POST", page+"/retry", "", "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, http.StatusSeeOther, a.status)
	assert.Equal(t, page, a.header.Get("Location"))
	assert.Contains(t, w.ask("GET", page, "").body, "waiting <b>2</b>")
	a = w.ask("POST", page+"/cancel", "", "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, http.StatusSeeOther, a.status)
	assert.Contains(t, w.ask("GET", page, "").body, "cancelled <b>2</b>")
}

// After a retry the sums start over, so that no failure is counted twice.
func TestSumsAfterRetry(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 40)
	w.finish(w.claim(id, 40))
	s, err := w.srv.sums(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 40, s.Read)
	assert.True(t, s.Whole)
	assert.EqualValues(t, 2, s.Tally.ByType[batch.OutputInvalid])
	require.Equal(t, http.StatusOK, w.ask("POST", "/api/v1/batches/"+string(id)+"/retry", "").status)
	_, err = w.srv.sums(t.Context(), id)
	require.NoError(t, err)
	w.finish(w.claim(id, 4))
	s, err = w.srv.sums(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 40, s.Read)
	assert.EqualValues(t, 2, s.Tally.ByType[batch.OutputInvalid])
}

// The history of a batch spans its whole time in bounded memory.
func TestHistoryIsBounded(t *testing.T) {
	h := &history{}
	start := time.Unix(0, 0)
	for i := range int64(100_000) {
		h.add(point{At: start.Add(time.Duration(i) * time.Second), OK: 3 * i})
	}
	assert.LessOrEqual(t, len(h.points), pointsKept)
	assert.Greater(t, len(h.points), pointsKept/4)
	assert.Equal(t, start, h.points[0].At)
	assert.EqualValues(t, 3*99_999, h.points[len(h.points)-1].OK)
	assert.InDelta(t, 3, h.rate(), 0.01)
	assert.Less(t, len(h.recent), 40)
}

// The contrast of text and background is at least 4.5 to 1, as WCAG 2.2, 1.4.3 requires.
func TestContrast(t *testing.T) {
	css, err := assetFiles.ReadFile("assets/style.css")
	require.NoError(t, err)
	blocks := regexp.MustCompile(`:root \{[^}]*--back[^}]*\}`).FindAllString(string(css), -1)
	require.Len(t, blocks, 2, "light and dark")
	for _, block := range blocks {
		lightness := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(block, -1) {
			n, err := strconv.ParseUint(m[2], 16, 32)
			require.NoError(t, err)
			linear := func(shift int) float64 {
				c := float64(n>>shift&255) / 255
				if c <= 0.04045 {
					return c / 12.92
				}
				return math.Pow((c+0.055)/1.055, 2.4)
			}
			lightness[m[1]] = 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
		}
		for _, pair := range [][2]string{
			{"text", "back"}, {"text", "card"}, {"text", "soft"}, {"muted", "back"}, {"muted", "card"}, {"muted", "soft"}, {"accent", "card"}, {"accent", "back"},
			{"failed", "card"}, {"ok", "ok-soft"}, {"failed", "failed-soft"}, {"cancelled", "cancelled-soft"}, {"text", "cancelled-soft"}, {"accent", "running-soft"},
			{"card", "accent"},
		} {
			a, b := lightness[pair[0]], lightness[pair[1]]
			require.NotEqual(t, a, b, pair)
			assert.GreaterOrEqual(t, (max(a, b)+0.05)/(min(a, b)+0.05), 4.5, "%s in %s", pair, block[:60])
		}
	}
}
