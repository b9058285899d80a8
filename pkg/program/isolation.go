package program

import (
	"fmt"
	"os/exec"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Isolation is how much of the machine a program sees.
type Isolation string

// The isolations.
const (
	// None: the program is an ordinary process of the worker's user.
	None Isolation = "none"
	// Bubblewrap: the program sees the system's files read-only, its own folders, and no process but its own. Unless Network is set, it
	// reaches the job's URL and nothing else.
	Bubblewrap Isolation = "bubblewrap"
)

// bubblewrap returns the command that runs argv in a sandbox.
func (d *folder) bubblewrap(p Program, j Job, argv []string, dir string) ([]string, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, batch.NewError(batch.ProgramFailed, fmt.Sprintf("the program %s needs bubblewrap, and there is no bwrap on this machine", p.Name))
	}
	out := []string{
		bwrap, "--die-with-parent", "--unshare-all", "--new-session", "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/root",
		"--tmpfs", "/home", "--proc", "/proc", "--dev", "/dev", "--ro-bind", d.job, d.job, "--bind", d.work, d.work, "--bind", d.temp, d.temp,
	}
	if dir != d.work {
		out = append(out, "--bind", dir, dir)
	}
	if p.Network {
		out = append(out, "--share-net")
	}
	out = append(out, "--chdir", dir, "--")
	return append(out, argv...), nil
}
