package terminal

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Console writes a command's output: results to standard output, everything else to standard error. On a terminal it
// keeps a few status lines at the bottom, below all other output. It is safe for concurrent use.
type Console struct {
	out, err io.Writer
	to       io.Writer         // standard output itself
	live     bool              // err is a terminal: redraw the status
	colour   bool              // the status may have colours
	both     bool              // out is a terminal too
	width    func() int        // of the terminal
	commands *strings.Replacer // names the commands of another program; nil for the coordinator's

	mu     sync.Mutex
	status string         // currently on the screen, guarded by mu
	last   []batch.Result // newest first, guarded by mu
}

// NewConsole detects whether errOut is a terminal. With TERM=dumb the terminal gets plain lines, because it cannot move
// its cursor. With NO_COLOR (https://no-color.org) it gets no colours.
func NewConsole(out, errOut io.Writer) *Console {
	c := &Console{out: out, to: out, err: errOut, width: func() int { return 0 }}
	if isTerminal(out) {
		c.out = human.VisibleWriter(out)
	}
	if f, ok := errOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		c.live, c.colour = true, os.Getenv("NO_COLOR") == ""
		c.both = isTerminal(out)
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

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Rename makes the console show a file under another name on standard error: an object, for its local copy. Call it before any output.
func (c *Console) Rename(file, shown string) {
	c.err = renaming{c.err, strings.NewReplacer(file, shown)}
}

// NameCommands makes the console show commands as those of another program than the coordinator, such as `batchagent run` and
// `batchagent worker`. Call it before any output.
func (c *Console) NameCommands(program string) {
	c.commands = strings.NewReplacer("`coordinator ", "`"+program+" ", "  coordinator ", "  "+program+" ",
		"(coordinator ", "("+program+" ", "`worker ", "`"+program+" worker ")
	c.err = renaming{c.err, c.commands}
}

// renaming replaces names in what is written.
type renaming struct {
	w     io.Writer
	names *strings.Replacer
}

// Write implements io.Writer. A name must not be split between two calls.
func (r renaming) Write(p []byte) (int, error) {
	if _, err := r.names.WriteString(r.w, string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Stdout returns the writer for data, such as results. Its output and the status lines never mix. On a terminal, control characters are
// escaped.
func (c *Console) Stdout() io.Writer { return consoleWriter{c, c.out} }

// Report returns a writer to standard output for text that people read.
func (c *Console) Report() io.Writer {
	if c.commands == nil {
		return c.Stdout()
	}
	return renaming{c.Stdout(), c.commands}
}

// Stderr returns the writer for everything except results. Control characters are escaped.
func (c *Console) Stderr() io.Writer { return consoleWriter{c, human.VisibleWriter(c.err)} }

// Say writes one line to standard error.
func (c *Console) Say(line string) { _, _ = io.WriteString(c.Stderr(), line+"\n") }

// Notify writes a notice to standard error.
func (c *Console) Notify(n notice.Notice) {
	if n.Code.Warns() {
		n.Text = "warning: " + n.Text
	}
	c.Say(n.Text)
}

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

// Status replaces the status, which has one line or more. "" removes it. Without a terminal, Status appends the lines
// to the output.
func (c *Console) Status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		if line != "" {
			_, _ = io.WriteString(c.err, human.Visible(line)+"\n")
		}
		return
	}
	c.draw(line)
}

// draw redraws the status. The caller holds mu.
func (c *Console) draw(line string) {
	if !c.live || line == c.status {
		return
	}
	var b strings.Builder
	if c.status != "" {
		b.WriteString("\r\x1b[K" + strings.Repeat("\x1b[1A\x1b[2K", strings.Count(c.status, "\n")))
	}
	b.WriteString(line)
	c.status = line
	_, _ = io.WriteString(c.err, b.String())
}

// Intervals of the progress display.
const (
	redrawEvery = 250 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// lastShown is the number of results in the status.
const lastShown = 3

// arrivals returns a callback that shows results among the last ones: Note. It returns a no-op if out shows results on
// the same screen.
func (c *Console) arrivals(toOut bool) func(batch.Result) {
	if toOut && c.both {
		return func(batch.Result) {}
	}
	return c.Note
}

// Note keeps a result for the status.
func (c *Console) Note(r batch.Result) {
	if !c.live {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = append([]batch.Result{r}, c.last[:min(len(c.last), lastShown-1)]...)
}

func (c *Console) view(p operation.Progress) view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return view{Progress: p, width: c.width(), colour: c.colour, last: append([]batch.Result(nil), c.last...)}
}

// showProgress shows progress until ctx is done and then removes the status. It skips failed reads.
func (c *Console) showProgress(ctx context.Context, look func(ctx context.Context) (operation.Progress, error)) {
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
			switch {
			case ctx.Err() != nil:
			case c.live:
				c.Status(c.view(p).String())
			case p.Elapsed >= lineEvery:
				c.Status(progressLine(p, 0))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
