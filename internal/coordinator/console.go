package coordinator

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Console is where a command speaks: results on standard output, everything else on standard error. On a terminal it
// keeps one status line at the bottom, below whatever else is written. It is safe for concurrent use.
type Console struct {
	out, err io.Writer
	live     bool       // err is a terminal: the status line is redrawn
	width    func() int // of the terminal

	mu     sync.Mutex
	status string // on the screen, guarded by mu
}

// NewConsole finds out whether errOut is a terminal.
func NewConsole(out, errOut io.Writer) *Console {
	c := &Console{out: out, err: errOut, width: func() int { return 0 }}
	if f, ok := errOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.live = true
		c.width = func() int {
			w, _, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80
			}
			return w
		}
	}
	return c
}

// Stdout writes results. What it writes and the status line never mix.
func (c *Console) Stdout() io.Writer { return consoleWriter{c, c.out} }

// Stderr writes everything else.
func (c *Console) Stderr() io.Writer { return consoleWriter{c, c.err} }

// Say writes one line to standard error.
func (c *Console) Say(line string) { _, _ = io.WriteString(c.Stderr(), line+"\n") }

type consoleWriter struct {
	c *Console
	w io.Writer
}

func (w consoleWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	status := w.c.status
	w.c.draw("")
	n, err := w.w.Write(p)
	w.c.draw(status)
	return n, err
}

// Status replaces the status line; "" takes it away. Where no line can be redrawn, it is written as a line of its own.
func (c *Console) Status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		if line != "" {
			_, _ = io.WriteString(c.err, line+"\n")
		}
		return
	}
	c.draw(line)
}

// draw is called with mu held.
func (c *Console) draw(line string) {
	if !c.live || line == c.status {
		return
	}
	var b strings.Builder
	if c.status != "" {
		b.WriteString("\r\x1b[K")
	}
	b.WriteString(line)
	c.status = line
	_, _ = io.WriteString(c.err, b.String())
}

// How often progress is shown.
const (
	redrawEvery = 250 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// watch shows progress until ctx is done, and then takes the status line away. A look that fails is skipped.
func (c *Console) watch(ctx context.Context, look func(ctx context.Context) (Progress, error)) {
	every := lineEvery
	if c.live {
		every = redrawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer c.Status("")
	var m meter
	start := time.Now()
	for {
		if p, err := look(ctx); err == nil {
			p.Elapsed = time.Since(start)
			p.Rate = m.rate(p.Elapsed, p.Counts.Finished())
			if ctx.Err() == nil && (c.live || p.Elapsed >= lineEvery) {
				c.Status(p.Line(c.width()))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
