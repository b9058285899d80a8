package builtin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxMatches   = 200
	maxLineShown = 300       // bytes shown of a matching line
	maxGrepLine  = 1 << 20   // bytes searched of a line
	maxGrepBytes = 256 << 20 // bytes read by one call
	maxPattern   = 1000      // bytes of an expression
)

const grepFilesParameters = `{
	"type": "object",
	"properties": {
		"pattern": {"type": "string", "minLength": 1, "description": "regular expression in RE2 syntax, searched line by line; (?i) at the start ignores case"},
		"path": {"type": "string", "description": "file or folder to search, relative to the root; leave out for everything"},
		"glob": {"type": "string", "description": "only files whose path below the folder matches, for example \"**/*.go\""}
	},
	"required": ["pattern"],
	"additionalProperties": false
}`

type grepFilesArgs struct {
	Pattern string `json:"pattern"`
	Path    string `json:"path"`
	Glob    string `json:"glob"`
}

// GrepFiles returns the tool grep_files, which finds the lines below root that match a regular expression. Expressions
// are RE2, so a match takes linear time. Files that are not UTF-8 text are skipped. Secrets are redacted before lines
// are matched or cut. The caller keeps root open as long as the tool is in use.
func GrepFiles(root *os.Root, secrets *redact.Secrets) toolpool.Tool {
	return toolpool.Tool{
		Name: "grep_files",
		Description: `Search text files for a regular expression (RE2), line by line. Each match is shown as "path:line: text". ` +
			`"path" limits the search to a file or folder, "glob" to files such as "**/*.md". At most 200 matches are shown.`,
		Parameters: json.RawMessage(grepFilesParameters),
		Version:    "1",
		// The key separates nodes with different files. It does not limit the age, because only overlapping calls share.
		Key: func(_ context.Context, args json.RawMessage) (string, error) { return fileKey(root, args), nil },
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a grepFilesArgs
			if err := json.Unmarshal(args, &a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			return grepFiles(ctx, root, secrets, a)
		},
	}
}

func grepFiles(ctx context.Context, root *os.Root, secrets *redact.Secrets, a grepFilesArgs) (string, error) {
	if len(a.Pattern) > maxPattern {
		return "", fmt.Errorf("the pattern has more than %d bytes", maxPattern)
	}
	m, err := newMatcher(a.Pattern)
	if err != nil {
		return "", err
	}
	g := &grep{root: root, secrets: secrets, matcher: m, budget: maxGrepBytes}
	info, err := root.Stat(localName(a.Path))
	if err != nil {
		return "", openError(a.Path, err)
	}
	var cut bool
	if info.IsDir() {
		if a.Glob == "" {
			a.Glob = "**"
		}
		cut, err = walk(ctx, root, a.Path, a.Glob, func(name string, e fs.DirEntry) error {
			if e.IsDir() {
				return nil
			}
			return g.file(ctx, name)
		})
	} else if err = g.file(ctx, localName(a.Path)); errors.Is(err, errEnough) {
		err = nil
	}
	if err != nil {
		return "", err
	}
	if g.matches == 0 {
		g.out.WriteString("(no match)\n")
	}
	switch {
	case g.matches >= maxMatches:
		fmt.Fprintf(&g.out, "[cut: stopped at %d matches; give a narrower pattern, path or glob]\n", maxMatches)
	case g.budget <= 0 || cut:
		g.out.WriteString("[cut: too many files to search all; give a narrower path or glob]\n")
	}
	if g.skipped > 0 {
		fmt.Fprintf(&g.out, "[%d files skipped: not UTF-8 text, or unreadable]\n", g.skipped)
	}
	return g.out.String(), nil
}

// grep is one running search.
type grep struct {
	root    *os.Root
	secrets *redact.Secrets
	matcher *matcher
	out     strings.Builder
	matches int
	skipped int
	budget  int64 // bytes left to read
}

// file searches one file. It returns the context's error or errEnough, and counts an unreadable file as skipped.
func (g *grep) file(ctx context.Context, name string) error {
	f, err := g.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		g.skipped++ // also for a link that leads outside
		return nil
	}
	defer f.Close() // opened for reading; nothing can be lost
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		g.skipped++
		return nil
	}
	// Secrets are redacted before the search: otherwise matches would reveal them piece by piece.
	r := bufio.NewReaderSize(g.secrets.Reader(f), 64<<10)
	if head, _ := r.Peek(8 << 10); bytes.IndexByte(head, 0) >= 0 {
		g.skipped++
		return nil
	}
	var line []byte
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err = readLine(r, line[:0], &g.budget)
		found := false
		if len(line) > 0 {
			var stopped error
			if found, stopped = g.matcher.match(ctx, line); stopped != nil {
				return stopped
			}
		}
		if found {
			if g.matches == maxMatches {
				return errEnough
			}
			g.matches++
			shown := string(line)
			if len(shown) > maxLineShown {
				shown = shown[:maxLineShown] + "…"
			}
			shown = strings.ToValidUTF8(shown, "")
			fmt.Fprintf(&g.out, "%s:%d: %s\n", name, number, shown)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			g.skipped++
			return nil
		case g.budget <= 0:
			return errEnough
		}
	}
}

// readLine reads one line without its end. Bytes beyond maxGrepLine are dropped.
func readLine(r *bufio.Reader, line []byte, budget *int64) ([]byte, error) {
	for {
		piece, err := r.ReadSlice('\n')
		*budget -= int64(len(piece))
		if room := maxGrepLine - len(line); room > 0 {
			line = append(line, piece[:min(len(piece), room)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) && *budget > 0 {
			continue
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		return bytes.TrimRight(line, "\r\n"), err
	}
}
