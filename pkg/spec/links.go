package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bmatcuk/doublestar/v4"
)

// linkKind is where a symbolic link leads.
type linkKind int

const (
	linkToFile   linkKind = iota // a regular file inside
	linkToFolder                 // a folder, wherever it is
	linkOutside                  // a regular file elsewhere
	linkToOther                  // a device, a pipe or a socket
	linkBroken                   // nothing
)

// followLink reports where a link leads and its target as messages show it. inside is a real path. A broken link comes with
// the reason.
func followLink(file, inside string) (kind linkKind, target string, broken error) {
	target, _ = os.Readlink(file)
	final, err := filepath.EvalSymlinks(file)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(final)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return linkBroken, target, fmt.Errorf("it is a symbolic link to %s, which does not exist", target)
	case errors.Is(err, syscall.ELOOP) || err != nil && strings.Contains(err.Error(), "too many links"):
		return linkBroken, target, fmt.Errorf("it is a symbolic link to %s, which leads in a circle", target)
	case err != nil:
		return linkBroken, target, fmt.Errorf("it is a symbolic link to %s, which cannot be read: %w", target, bare(err))
	case info.IsDir():
		return linkToFolder, target, nil
	case !info.Mode().IsRegular():
		return linkToOther, target, nil
	case within(inside, final):
		return linkToFile, target, nil
	}
	return linkOutside, target, nil
}

// realPath is a folder without symbolic links in its path.
func realPath(dir string) string {
	if final, err := filepath.EvalSymlinks(dir); err == nil {
		return final
	}
	return dir
}

// linkCount counts links and remembers the first.
type linkCount struct {
	n     int
	first string
}

func (c *linkCount) add(link, target string) {
	if c.n++; c.n == 1 {
		c.first = fmt.Sprintf("%s -> %s", link, target)
	}
}

func (c *linkCount) of(one, many string) string {
	if c.n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", c.n, many)
}

// mayMatchBelow reports whether the pattern could match something under the folder dir. Both have slashes.
func mayMatchBelow(pattern, dir string) bool {
	if strings.Contains(pattern, "{") {
		return true // alternatives may hold slashes
	}
	parts := strings.Split(dir, "/")
	for i, segment := range strings.Split(pattern, "/") {
		switch {
		case segment == "**":
			return true
		case i == len(parts):
			return true
		case !doublestar.MatchUnvalidated(segment, parts[i]):
			return false
		}
	}
	return false
}
