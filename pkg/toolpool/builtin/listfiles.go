package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	maxListed  = 500     // names in one result
	maxVisited = 100_000 // files and folders that one call visits
	maxGlob    = 1000    // bytes of a glob
	// maxAlternatives limits the alternatives that the braces of a glob expand to. Matching one name takes time in
	// proportion to it, and nothing can stop a match.
	maxAlternatives = 256
)

const listFilesParameters = `{
	"type": "object",
	"properties": {
		"path": {"type": "string", "description": "folder to list, relative to the root; leave out for the root"},
		"glob": {"type": "string", "description": "only files whose path below the folder matches, for example \"**/*.go\"; leave out to list the folder itself"}
	},
	"additionalProperties": false
}`

type listFilesArgs struct {
	Path string `json:"path"`
	Glob string `json:"glob"`
}

// ListFiles returns the tool list_files, which lists a folder below root, or the files below it that match a glob. It
// does not follow links to folders. The caller keeps root open as long as the tool is in use.
func ListFiles(root *os.Root) toolpool.Tool {
	return toolpool.Tool{
		Name: "list_files",
		Description: `List files. "path" is a folder relative to the root of the shared files. Without "glob" the names in it are listed; ` +
			`with "glob", for example "**/*.md", the files below it that match. At most 500 are shown.`,
		Parameters: json.RawMessage(listFilesParameters),
		Version:    "1",
		// The key separates nodes with different files. It does not limit the age, because only overlapping calls share.
		Key: func(_ context.Context, args json.RawMessage) (string, error) { return fileKey(root, args), nil },
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a listFilesArgs
			if err := json.Unmarshal(args, &a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			if a.Glob == "" {
				a.Glob = "*"
			}
			var out strings.Builder
			shown, more := 0, 0
			cut, err := walk(ctx, root, a.Path, a.Glob, func(name string, e fs.DirEntry) error {
				if shown == maxListed {
					more++
					return nil
				}
				shown++
				out.WriteString(name)
				if e.IsDir() {
					out.WriteByte('/')
				}
				out.WriteByte('\n')
				return nil
			})
			switch {
			case err != nil:
				return "", err
			case shown == 0:
				out.WriteString("(nothing matches)\n")
			case more > 0:
				fmt.Fprintf(&out, "[cut: %d more; give a narrower path or glob]\n", more)
			}
			if cut {
				fmt.Fprintf(&out, "[cut: stopped after %d files; give a narrower path]\n", maxVisited)
			}
			return out.String(), nil
		},
	}
}

// walk calls do for each entry below folder that matches glob, in alphabetical order. A glob without "**" matches no
// deeper than its own depth, and walk does not enter deeper folders. cut reports that maxVisited ended the walk.
func walk(ctx context.Context, root *os.Root, folder, glob string, do func(name string, e fs.DirEntry) error) (cut bool, err error) {
	if err := checkGlob(glob); err != nil {
		return false, err
	}
	folder = localName(folder)
	info, err := root.Stat(folder)
	if err != nil {
		return false, openError(folder, err)
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%q is a file, not a folder", folder)
	}
	depth := strings.Count(glob, "/")
	deep := strings.Contains(glob, "**")
	visited := 0
	err = fs.WalkDir(root.FS(), folder, func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if visited++; visited > maxVisited {
			cut = true
			return fs.SkipAll
		}
		if err != nil {
			if name == folder {
				return openError(folder, err)
			}
			return nil // an unreadable folder is listed by its name alone
		}
		if name == folder {
			return nil
		}
		below := name
		if folder != "." {
			below = strings.TrimPrefix(name, folder+"/")
		}
		if doublestar.MatchUnvalidated(glob, below) && (glob == "*" || !e.IsDir()) {
			if err := do(name, e); err != nil {
				return err
			}
		}
		if e.IsDir() && !deep && strings.Count(below, "/") >= depth {
			return fs.SkipDir
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return cut, err
}

func checkGlob(glob string) error {
	switch {
	case len(glob) > maxGlob:
		return fmt.Errorf("the glob has more than %d bytes", maxGlob)
	case !doublestar.ValidatePattern(glob):
		return fmt.Errorf("%.80q is not a glob: use * within a name, ** for any folders, {a,b} for either", glob)
	case alternatives(glob) > maxAlternatives:
		return fmt.Errorf("the braces of %.80q stand for more than %d alternatives: use fewer", glob, maxAlternatives)
	}
	return nil
}

// alternatives returns the number of brace-free globs that a valid glob expands to. Above maxAlternatives the value is
// only known to be larger.
func alternatives(glob string) int {
	type group struct{ before, sum int } // the count before the group, and the sum of its finished alternatives
	var open []group
	n := 1 // of the current alternative
	class := false
	for i := 0; i < len(glob); i++ {
		switch last := len(open) - 1; {
		case glob[i] == '\\':
			i++
		case class || glob[i] == '[':
			class = glob[i] != ']'
		case glob[i] == '{':
			open, n = append(open, group{before: n}), 1
		case glob[i] == ',' && last >= 0:
			open[last].sum, n = open[last].sum+n, 1
		case glob[i] == '}' && last >= 0:
			n = min(open[last].before*(open[last].sum+n), maxAlternatives+1)
			open = open[:last]
		}
	}
	return n
}

// errEnough ends a walk without a failure.
var errEnough = errors.New("enough")
