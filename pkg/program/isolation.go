package program

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/internal/forward"
)

// Isolation is how much of the machine a program sees.
type Isolation string

// The isolations.
const (
	// None: the program is an ordinary process of the worker's user.
	None Isolation = "none"
	// Bubblewrap: the program sees the system's files read-only, its own folders, and no process but its own. Home directories and
	// temporary files are empty. Unless Network is set, it reaches the job's URL and nothing else.
	Bubblewrap Isolation = "bubblewrap"
)

// hidden are the folders that a program in a sandbox finds empty: they have files and sockets of users.
var hidden = []string{"/tmp", "/var/tmp", "/run", "/root", "/home"}

// bubblewrap returns the command that runs argv in a sandbox. dir is the working folder.
func (d *folder) bubblewrap(p Program, j Job, socket, dir string, argv []string) ([]string, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, batch.NewError(batch.ProgramFailed, fmt.Sprintf("the program %s needs bubblewrap, and there is no bwrap on this machine", p.Name))
	}
	out := []string{bwrap, "--die-with-parent", "--unshare-all", "--new-session", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"}
	for _, path := range hidden {
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			out = append(out, "--tmpfs", path)
		}
	}
	for _, path := range append([]string{d.job}, p.Read...) {
		out = append(out, "--ro-bind", path, path)
	}
	out = append(out, "--bind", d.work, d.work, "--bind", d.temp, d.temp)
	if dir != d.work {
		out = append(out, "--bind", dir, dir)
	}
	out = append(out, "--chdir", dir)
	if p.Network {
		return append(append(out, "--share-net", "--"), argv...), nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	target, err := url.Parse(j.URL)
	if err != nil {
		return nil, fmt.Errorf("read the URL of %s: %w", j.Job, err)
	}
	out = append(out, "--ro-bind", exe, exe, "--ro-bind", socket, socket, "--")
	return append(out, forward.Command(exe, socket, target.Host, argv)...), nil
}
