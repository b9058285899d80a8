package hardening

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// share is the part of a container's memory that the Go heap may use, in tenths. Children and the kernel need the rest.
const share = 8

// LimitMemory sets the soft limit of the Go heap to 80 % of the cgroup's limit, unless GOMEMLIMIT is set. It returns the
// limit in bytes, or 0 if it set none.
func LimitMemory(getenv func(string) string) int64 {
	if getenv("GOMEMLIMIT") != "" {
		return 0
	}
	allowed := cgroupMemory(os.DirFS("/"))
	if allowed <= 0 {
		return 0
	}
	limit := allowed / 10 * share
	debug.SetMemoryLimit(limit)
	return limit
}

// cgroupMemory returns the smallest memory limit of this process's cgroup and its parents, of version 1 or 2. It returns
// 0 without a limit.
func cgroupMemory(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		// number:controllers:path, with no controllers in version 2
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "":
		case hasMemory(parts[1]):
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// Within a container the path may be the host's and be missing here. Then only the top group has a limit.
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			if n := readLimit(root, path.Join(dir, group, file)); n > 0 {
				least = min(least, n)
			}
			if group == "/" {
				break
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

func hasMemory(controllers string) bool {
	for c := range strings.SplitSeq(controllers, ",") {
		if c == "memory" {
			return true
		}
	}
	return false
}

// readLimit returns a limit in bytes, or 0 without one. Version 1 writes a number of about 2^63 for no limit.
func readLimit(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return n
}
