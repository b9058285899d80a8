package program

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"

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
	// Docker: each run of the program is a container of a Docker engine on this machine. It sees the files of its image and its own
	// folders. It has the user of this process and no capabilities. Unless Network is set, it reaches the job's URL and nothing else.
	Docker Isolation = "docker"
)

// Check returns an error if this machine cannot run p, for example because it has no sandbox. It pulls the image of a container if the machine
// does not have it, and calls pulling before.
func (p Program) Check(ctx context.Context, pulling func(image string)) error {
	var err error
	switch p.Isolation {
	case Bubblewrap:
		err = checkBubblewrap(ctx)
	case Docker:
		err = checkImage(ctx, p.Image, pulling)
	}
	if err != nil {
		return fmt.Errorf("the program %s: %w", p.Name, err)
	}
	return nil
}

// isolated runs commands of one job in the isolation of its program.
type isolated struct {
	program Program
	job     Job
	folder  *folder
	dir     string // the working folder
	root    *Folders
}

// run runs one command in the isolation of the program.
func (i isolated) run(ctx context.Context, process Process) (text string, err error) {
	process.Dir, process.Memory = i.dir, i.program.Memory
	switch i.program.Isolation {
	case Docker:
		return i.container(ctx, process)
	case Bubblewrap:
		if process.Argv, err = i.bubblewrap(process.Argv); err != nil {
			return "", err
		}
	}
	return process.Run(ctx)
}

// hidden are the folders that a program in a sandbox finds empty: they have files and sockets of users.
var hidden = []string{"/tmp", "/var/tmp", "/run", "/root", "/home"}

// bubblewrap returns the command that runs argv in a sandbox.
func (i isolated) bubblewrap(argv []string) ([]string, error) {
	p, d := i.program, i.folder
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
	if i.dir != d.work {
		out = append(out, "--bind", i.dir, i.dir)
	}
	out = append(out, "--chdir", i.dir)
	if p.Network {
		return append(append(out, "--share-net", "--"), argv...), nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	address, err := i.address()
	if err != nil {
		return nil, err
	}
	socket := i.root.Socket()
	out = append(out, "--ro-bind", exe, exe, "--ro-bind", socket, socket, "--")
	return append(out, forward.Command(exe, socket, address, argv)...), nil
}

// address returns the host and port of the job's URL.
func (i isolated) address() (string, error) {
	target, err := url.Parse(i.job.URL)
	if err != nil {
		return "", fmt.Errorf("read the URL of %s: %w", i.job.Job, err)
	}
	return target.Host, nil
}

// checkBubblewrap makes a sandbox, because some systems forbid them to ordinary users.
func checkBubblewrap(ctx context.Context) error {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return fmt.Errorf("isolation: bubblewrap needs the command bwrap, and this machine has none; install the package bubblewrap")
	}
	out, err := exec.CommandContext(ctx, bwrap, "--unshare-all", "--ro-bind", "/", "/", "true").CombinedOutput() //nolint:gosec // found in PATH
	if err != nil {
		return fmt.Errorf("bubblewrap makes no sandbox on this machine: %s", strings.TrimSpace(string(out)))
	}
	return nil
}
