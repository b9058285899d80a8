package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/version"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// liveEvery is the interval at which an open page is rendered again. It is sent only if it has changed.
const liveEvery = 2 * time.Second

// page is one page of the dashboard: a function that loads its content, and the template that renders it. The live
// stream renders the same template.
type page struct {
	name string // of the template and of the menu entry
	load func(s *Server, r *http.Request) (title string, content any, err error)
}

var (
	batchesPage = page{"batches", (*Server).showBatches}
	batchPage   = page{"batch", (*Server).showBatch}
	jobPage     = page{"job", (*Server).showJob}
	workersPage = page{"workers", (*Server).showWorkers}
	toolsPage   = page{"tools", (*Server).showTools}
)

// frame is the data of the layout around a page's content.
type frame struct {
	Title, Page, Live string
	Login             bool // show the logout button
	Assets, Version   string
	Content           any
}

// assetsVersion is a hash of all assets, so that browsers can cache them.
var assetsVersion = sync.OnceValue(func() string {
	sum := sha256.New()
	entries, _ := assetFiles.ReadDir("assets")
	for _, e := range entries {
		data, _ := assetFiles.ReadFile("assets/" + e.Name())
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
})

// templates holds a template set for each page: the frame and the content. They are parsed on the first request for a
// page, because most processes serve none.
var templates = sync.OnceValue(func() map[string]*template.Template {
	base := template.Must(template.New("frame").Funcs(functions).ParseFS(pageFiles, "pages/frame.html", "pages/parts.html"))
	out := map[string]*template.Template{}
	for _, name := range []string{"batches", "batch", "job", "workers", "tools", "login", "error"} {
		out[name] = template.Must(template.Must(base.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
	}
	return out
})

var functions = template.FuncMap{
	"count": human.Count, "span": human.Span, "perSecond": human.PerSecond, "percent": human.Percent, "line": human.FirstLine,
	"ms":      func(ms int64) string { return human.Span(time.Duration(ms) * time.Millisecond) },
	"seconds": func(s float64) string { return human.Span(time.Duration(s * float64(time.Second))) },
	"ago": func(t time.Time) string {
		d := max(time.Since(t), 0).Truncate(time.Second)
		if d < time.Minute {
			return d.String()
		}
		return human.Span(d)
	},
	"took":    func(from, to time.Time) string { return human.Span(to.Sub(from)) },
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
	"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"lower":   func(v any) string { return strings.ToLower(fmt.Sprint(v)) },
	"slug":    func(s batch.BatchState) string { return strings.ReplaceAll(string(s), " ", "-") },
	"join":    strings.Join,
	"wide":    func(n int) int64 { return int64(n) },
	"pretty":  pretty,
	"bar":     progressBar,
	"budget":  human.BudgetUse,
	"gauge":   gauge,
	"results": func(t agent.Turn, id string) string { return toolResult(t, id) },
	"source":  source,
	"sub":     func(a, b int64) int64 { return a - b },
	"stage":   stageName,
	"add":     func(a, b int) int { return a + b },
	"tool":    func(c backend.ToolCall) string { return specName(c.Name) },
}

// pretty indents JSON. It returns other text unchanged.
func pretty(v any) string {
	raw, ok := v.(json.RawMessage)
	if !ok {
		raw = json.RawMessage(fmt.Sprint(v))
	}
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// toolResult returns the result of the call with an ID.
func toolResult(t agent.Turn, id string) string {
	for _, m := range t.Tools {
		if m.ToolCallID == id {
			return m.Content
		}
	}
	return ""
}

// source describes the origin of a tool call's result.
func source(t agent.Turn, id string) string {
	i := slices.IndexFunc(t.Tools, func(m backend.Message) bool { return m.ToolCallID == id })
	if i < 0 || i >= len(t.Sources) {
		return ""
	}
	switch s := t.Sources[i]; s.From {
	case toolpool.FromTool:
		return "ran for this job"
	case toolpool.FromProcess:
		return "shared with another job of this worker"
	case toolpool.FromCluster:
		return "shared, ran on " + s.By
	case toolpool.FromCache:
		return "shared, from the cache"
	case toolpool.FromEffectLog:
		return "ran in an earlier attempt"
	default:
		return "was not run"
	}
}

// page returns a handler that renders a whole page.
func (s *Server) page(p page) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		title, content, err := p.load(s, r)
		if err != nil {
			return err
		}
		live := "/live" + r.URL.Path
		if r.URL.RawQuery != "" {
			live += "?" + r.URL.RawQuery
		}
		return s.render(w, http.StatusOK, p.name, frame{Title: title, Page: p.name, Live: live, Content: content})
	}
}

func (s *Server) render(w http.ResponseWriter, status int, name string, f frame) error {
	f.Login, f.Assets, f.Version = s.cfg.Token != "", assetsVersion(), version.String()
	var b bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&b, "frame", f); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	return s.writer(w).write([]byte(human.Visible(b.String())))
}

// live returns a handler that streams a page's content, as a JSON string, whenever it changes.
func (s *Server) live(p page) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, _, err := p.load(s, r); err != nil {
			return err
		}
		st, give, err := s.openStream(w)
		if err != nil {
			return err
		}
		defer give()
		var sent [sha256.Size]byte
		for {
			_, content, err := p.load(s, r)
			switch {
			case errors.Is(err, statestore.ErrNotFound):
				return nil
			case err == nil:
				var b bytes.Buffer
				if err := templates()[p.name].ExecuteTemplate(&b, "content", content); err != nil {
					return fmt.Errorf("make the page %s: %w", p.name, err)
				}
				if sum := sha256.Sum256(b.Bytes()); sum != sent {
					sent = sum
					data, err := json.Marshal(human.Visible(b.String()))
					if err != nil {
						return fmt.Errorf("encode the page %s: %w", p.name, err)
					}
					if st.event("page", "", data) != nil {
						return nil
					}
				}
			}
			if !s.rest(r.Context(), st, liveEvery) {
				return nil
			}
		}
	}
}

// button returns a handler that calls do for a batch and redirects to its page.
func (s *Server) button(do func(ctx context.Context, id batch.ID) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := s.batchOf(r.Context(), r)
		if err != nil {
			return err
		}
		if err := do(r.Context(), id); err != nil {
			return err
		}
		http.Redirect(w, r, "/batches/"+string(id), http.StatusSeeOther)
		return nil
	}
}

func (s *Server) errorPage(w http.ResponseWriter, p *Problem) {
	if err := s.render(w, p.Status, "error", frame{Title: p.Title, Content: p}); err != nil {
		s.log.Warn("could not show an error", "error", err)
	}
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) error {
	name := path.Base(r.PathValue("file"))
	data, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		return problem(http.StatusNotFound, "not-found", "%s does not exist", r.URL.Path)
	}
	h := w.Header()
	h.Set("Content-Type", map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}[path.Ext(name)])
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, err = w.Write(data)
	return err
}
