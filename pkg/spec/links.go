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

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// linkKind is the kind of a symbolic link's target.
type linkKind int

const (
	linkToFile   linkKind = iota // a regular file inside
	linkToFolder                 // a folder anywhere
	linkOutside                  // a regular file elsewhere
	linkToOther                  // a device, a pipe or a socket
	linkBroken                   // a missing file
)

// followLink returns the kind of a link's target, and the target as shown in messages. inside must be a real path.
// broken is the reason for a broken link.
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
		return linkBroken, target, fmt.Errorf("it is a symbolic link to %s, which is part of a loop of links", target)
	case err != nil:
		return linkBroken, target, fmt.Errorf("it is a symbolic link to %s, which cannot be read: %w", target, strictyaml.WithoutPath(err))
	case info.IsDir():
		return linkToFolder, target, nil
	case !info.Mode().IsRegular():
		return linkToOther, target, nil
	case within(inside, final):
		return linkToFile, target, nil
	}
	return linkOutside, target, nil
}

// realPath returns the path of a folder without symbolic links.
func realPath(dir string) string {
	if final, err := filepath.EvalSymlinks(dir); err == nil {
		return final
	}
	return dir
}

// linkCount counts links and keeps the first.
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

// mayMatchBelow reports whether the pattern could match a path under the folder dir. Both use slashes.
func mayMatchBelow(pattern, dir string) bool {
	if strings.Contains(pattern, "{") {
		return true // alternatives may contain slashes
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
