package program

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/internal/forward"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// rootLabel is the label of our containers. Its value is the root of the process that made them.
	rootLabel = "batchagent.folders"
	// maxProcesses limits the processes and threads of a container, against programs that fork without end.
	maxProcesses = 4096
	// engineAnswer is the time that the engine has for one small request.
	engineAnswer = 30 * time.Second
	// engineReturn is the longest wait between two questions to an engine that does not answer.
	engineReturn = 10 * time.Second
)

// container runs one command in a container of its own.
//
// The first process of the container is a copy of this executable. It forwards the address of the job to the worker's socket, because a
// container has another loopback interface. It ends with the command, and also if this process dies: then the lock of the folders is
// free. The engine removes the container when its first process has ended.
//
// While the engine does not answer, container waits. [ErrKilled]: the engine ended the container.
func (i isolated) container(ctx context.Context, process Process) (string, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return "", batch.NewError(batch.ProgramFailed, fmt.Sprintf("the program %s needs Docker, and there is no docker on this machine", i.program.Name))
	}
	e := engine{docker}
	command, err := i.command(process)
	if err != nil {
		return "", err
	}
	name := strings.TrimPrefix(strings.TrimPrefix(command.Folder, filepath.Dir(i.root.root)), string(filepath.Separator))
	name = strings.ReplaceAll(name, string(filepath.Separator), "-") // batchagent-programs-1-job-2-container-3
	create, err := i.create(name, command)
	if err != nil {
		return "", err
	}
	if err := e.create(ctx, i.program.Image, name, create); err != nil {
		return "", err
	}
	text, err := Process{
		Argv: []string{docker, "start", "--attach", "--interactive", name}, Env: os.Environ(), Name: command.Argv[0],
		Stdin: process.Stdin, Secrets: process.Secrets, Log: process.Log, Stop: func() { e.remove(name) },
	}.Run(ctx)
	if err == nil {
		return text, nil
	}
	e.remove(name)
	switch {
	case ctx.Err() != nil, command.Ended():
		return "", err
	case !command.Began() && e.answers(ctx):
		return "", i.doesNotStart(err)
	}
	return "", fmt.Errorf("%w: the container of %s: %w", ErrKilled, i.program.Name, err)
}

// doesNotStart returns the job's error if the first process of its container never ran.
func (i isolated) doesNotStart(err error) error {
	text := fmt.Sprintf("the container of the program %s does not start: %s", i.program.Name, strings.TrimPrefix(err.Error(), string(batch.ProgramFailed)+": "))
	if exe, _ := os.Executable(); strings.Contains(text, "exec "+exe+": no such file") {
		text += fmt.Sprintf("; the image has no C library for %s, so build that with CGO_ENABLED=0", filepath.Base(exe))
	}
	return batch.NewError(batch.ProgramFailed, text)
}

// command describes the work of the container's first process.
func (i isolated) command(process Process) (c forward.Contained, err error) {
	c = forward.Contained{Lock: filepath.Join(i.root.root, lockName), Socket: i.root.Socket(), Argv: process.Argv}
	if c.Address, err = i.address(); err != nil {
		return c, err
	}
	here := "PATH=" + os.Getenv("PATH") // the image has its own
	c.Env = slices.DeleteFunc(slices.Clone(process.Env), func(variable string) bool { return variable == here })
	if c.Folder, err = os.MkdirTemp(i.folder.path, "container-"); err != nil {
		return c, fmt.Errorf("make the folder of a container: %w", err)
	}
	return c, c.Write()
}

// create returns the arguments that make the container.
func (i isolated) create(name string, c forward.Contained) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p, d := i.program, i.folder
	args := []string{
		"create", "--name", name, "--label", rootLabel + "=" + i.root.root, "--rm", "--interactive", "--pull", "never",
		"--log-driver", "none", // the engine would keep all that the program prints on the disk
		"--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--pids-limit", strconv.Itoa(maxProcesses), "--workdir", i.dir,
	}
	if !p.Network {
		args = append(args, "--network", "none")
	}
	if p.Memory > 0 {
		limit := strconv.FormatInt(p.Memory, 10)
		args = append(args, "--memory", limit, "--memory-swap", limit)
	}
	for _, path := range append([]string{exe, c.Lock, c.Socket, d.job}, p.Read...) {
		args = append(args, "--mount", mount(path, true))
	}
	writable := []string{c.Folder, d.work, d.temp}
	if i.dir != d.work {
		writable = append(writable, i.dir)
	}
	for _, path := range writable {
		args = append(args, "--mount", mount(path, false))
	}
	argv := c.Command(exe)
	return append(append(args, "--entrypoint", argv[0], p.Image), argv[1:]...), nil
}

// mount returns a bind mount at the same path. The engine reads it as a line of CSV.
func mount(path string, readOnly bool) string {
	var line strings.Builder
	fields := []string{"type=bind", "source=" + path, "target=" + path}
	if readOnly {
		fields = append(fields, "readonly")
	}
	w := csv.NewWriter(&line)
	_ = w.Write(fields) // a strings.Builder accepts all
	w.Flush()
	return strings.TrimSuffix(line.String(), "\n")
}

// engine is a Docker engine, through its command. The value is the command's path.
type engine struct{ docker string }

// create makes a container. It waits while the engine does not answer.
func (e engine) create(ctx context.Context, image, name string, args []string) error {
	for {
		err := e.ask(ctx, args...)
		if err == nil {
			return nil
		}
		e.remove(name) // the engine may have made it without an answer
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case strings.Contains(err.Error(), "No such image"):
			return batch.NewError(batch.ProgramFailed, fmt.Sprintf("the image %s is not on this machine; run \"docker pull %s\"", image, image))
		case e.answers(ctx):
			return batch.NewError(batch.ProgramFailed, fmt.Sprintf("the Docker engine makes no container: %v", err))
		}
		if err := e.wait(ctx); err != nil {
			return err
		}
	}
}

// wait waits until the engine answers.
func (e engine) wait(ctx context.Context) error {
	for pause := time.Second / 4; !e.answers(ctx); pause = min(2*pause, engineReturn) {
		if err := sleep.For(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// answers reports whether the engine answers.
func (e engine) answers(ctx context.Context) bool {
	return e.ask(ctx, "version", "--format", "{{.Server.Version}}") == nil
}

// remove ends a container and removes it, if it exists.
func (e engine) remove(name string) {
	_ = e.ask(context.Background(), "rm", "--force", name)
}

// ask makes a request. The error has the complaint of the command.
func (e engine) ask(ctx context.Context, args ...string) error {
	_, err := e.read(ctx, engineAnswer, args...)
	return err
}

// read makes a request and returns the answer.
func (e engine) read(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, e.docker, args...).Output() //nolint:gosec // found in PATH; the operator's image
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", errors.New(strings.TrimSpace(strings.TrimPrefix(string(exit.Stderr), "Error response from daemon: ")))
	}
	return string(out), err
}

// pullTime limits the pull of an image.
const pullTime = 30 * time.Minute

// checkImage returns nil if the engine answers and has the image. It pulls an image that is missing, and removes the containers of
// workers that died before they could start them.
func checkImage(ctx context.Context, image string, pulling func(string)) error {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return errors.New("isolation: docker needs the command docker, and this machine has none")
	}
	e := engine{docker}
	if err := e.ask(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("the Docker engine does not answer: %w", err)
	}
	list, err := e.read(ctx, engineAnswer, "ps", "--all", "--filter", "status=created", "--filter", "label="+rootLabel, "--format", `{{.Names}}{{"\t"}}{{.Label "`+rootLabel+`"}}`)
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	for line := range strings.Lines(list) {
		name, root, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if _, err := os.Stat(root); os.IsNotExist(err) {
			e.remove(name)
		}
	}
	if e.ask(ctx, "image", "inspect", "--format", "{{.Id}}", image) == nil {
		return nil
	}
	pulling(image)
	if _, err := e.read(ctx, pullTime, "pull", "--quiet", image); err != nil {
		return fmt.Errorf("pull the image %s: %w", image, err)
	}
	return nil
}
