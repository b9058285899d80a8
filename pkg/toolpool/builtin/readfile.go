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
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxFileBytes  = 256 << 10 // bytes of text in one result
	maxNoteBytes  = 1 << 10   // room for the note about the cut
	maxDirEntries = 100       // names shown of a directory
)

const readFileDescription = `Read a text file. "path" is relative to the root of the shared files, with forward slashes, for example "docs/guide.md". ` +
	`The whole file is returned, up to 256 KiB. To read a part of a long file, give "start_line" and "end_line" (the first line is 1, both are included). ` +
	`The path of a directory returns the names in it.`

const readFileParameters = `{
	"type": "object",
	"properties": {
		"path": {"type": "string", "description": "path of the file, relative to the root"},
		"start_line": {"type": "integer", "minimum": 1, "description": "first line to return; leave out to start at the beginning"},
		"end_line": {"type": "integer", "minimum": 1, "description": "last line to return; leave out to read to the end"}
	},
	"required": ["path"],
	"additionalProperties": false
}`

type readFileArgs struct {
	Path      string `json:"path"`
	StartLine int    `json:"start_line"` // 0 if missing
	EndLine   int    `json:"end_line"`   // 0 if missing
}

// ReadFile returns the tool read_file, which reads text files below root. It reads nothing outside of root, neither by "..", by an
// absolute path nor by a symbolic link. The caller keeps root open as long as the tool is in use, and closes it.
//
// Secrets are redacted before a result is cut. Results are shared as long as the file keeps its modification time and size.
func ReadFile(root *os.Root, secrets *redact.Secrets) toolpool.Tool {
	return toolpool.Tool{
		Name:        "read_file",
		Description: readFileDescription,
		Parameters:  json.RawMessage(readFileParameters),
		Version:     "1",
		Share:       toolpool.Pure,
		MaxBytes:    maxFileBytes + maxNoteBytes,
		Key: func(_ context.Context, args json.RawMessage) (string, error) {
			return fileKey(root, args), nil
		},
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			return readFile(ctx, root, secrets, args)
		},
	}
}

// fileKey identifies a version of a file by its modification time and size. An inaccessible path has the empty key: Run
// then returns the error, and failures are not cached.
func fileKey(root *os.Root, args json.RawMessage) string {
	var a readFileArgs
	if json.Unmarshal(args, &a) != nil {
		return ""
	}
	info, err := root.Stat(localName(a.Path))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size())
}

func readFile(ctx context.Context, root *os.Root, secrets *redact.Secrets, args json.RawMessage) (string, error) {
	var a readFileArgs
	if err := json.Unmarshal(args, &a); err != nil {
		return "", fmt.Errorf("read arguments: %w", err)
	}
	if a.EndLine > 0 && a.EndLine < a.StartLine {
		return "", fmt.Errorf("end_line %d is before start_line %d", a.EndLine, a.StartLine)
	}
	// Without O_NONBLOCK, opening a named pipe would wait for a writer.
	f, err := root.OpenFile(localName(a.Path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", openError(a.Path, err)
	}
	defer f.Close() // opened read-only, so Close cannot lose data
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", openError(a.Path, err)
	case info.IsDir():
		return listDir(f, a.Path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%q is not a regular file", a.Path)
	case info.Size() == 0:
		return "(the file is empty)", nil
	}
	return readLines(ctx, secrets.Reader(f), info.Size(), a)
}

// localName turns a model's path into a name for os.Root, which refuses paths that lead outside.
func localName(p string) string {
	if p == "" {
		return "."
	}
	return path.Clean(p)
}

func openError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %q. The path is relative to the root; the path \".\" lists it", name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%q must not be read", name)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // without the root's path on this machine
	}
	return fmt.Errorf("%q cannot be read: %w. Give a path relative to the root, without a leading slash and without any parent folder", name, err)
}

func listDir(dir *os.File, name string) (string, error) {
	entries, err := dir.ReadDir(maxDirEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", openError(name, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var b strings.Builder
	fmt.Fprintf(&b, "%q is a directory, not a file. It holds:\n", name)
	for i, e := range entries {
		if i == maxDirEntries {
			fmt.Fprintf(&b, "[and more]\n")
			break
		}
		b.WriteString(e.Name())
		if e.IsDir() {
			b.WriteByte('/')
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// readLines returns the requested lines exactly as they are in the file.
func readLines(ctx context.Context, f io.Reader, size int64, a readFileArgs) (string, error) {
	var out bytes.Buffer
	r := bufio.NewReaderSize(f, 64<<10)
	line, seen := 1, 0 // line is the current line; seen counts the file's lines, including a last one without a newline
	first := max(a.StartLine, 1)
	for a.EndLine == 0 || line <= a.EndLine {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		piece, err := r.ReadSlice('\n')
		if len(piece) > 0 {
			seen = line
		}
		if line >= first {
			room := maxFileBytes - out.Len()
			if len(piece) > room {
				out.Write(piece[:room])
				return cutResult(out.Bytes(), first, size, a.Path)
			}
			out.Write(piece)
		}
		switch {
		case err == nil:
			line++
		case errors.Is(err, io.EOF):
			if first > seen {
				return "", fmt.Errorf("%q has only %d lines", a.Path, seen)
			}
			return asText(out.Bytes(), size, a.Path)
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", openError(a.Path, err)
		}
	}
	return asText(out.Bytes(), size, a.Path)
}

// cutResult ends text at its last whole line and adds a note with the next start_line. Within one very long line it
// ends text at a character.
func cutResult(text []byte, first int, size int64, name string) (string, error) {
	if end := bytes.LastIndexByte(text, '\n'); end >= 0 {
		shown, err := asText(text[:end+1], size, name)
		if err != nil {
			return "", err
		}
		next := first + strings.Count(shown, "\n")
		return fmt.Sprintf("%s[cut: lines %d to %d of a file of %d bytes; read on with start_line %d]", shown, first, next-1, size, next), nil
	}
	for cut := 1; cut < utf8.UTFMax && !utf8.Valid(text); cut++ {
		text = text[:len(text)-1]
	}
	shown, err := asText(text, size, name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\n[cut: the first %d bytes of line %d of a file of %d bytes; the rest of this line cannot be read]", shown, len(shown), first, size), nil
}

func asText(text []byte, size int64, name string) (string, error) {
	if bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
		return "", fmt.Errorf("%q is not a UTF-8 text file (%d bytes): it holds binary data or another encoding, and cannot be read", name, size)
	}
	return string(text), nil
}
