package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var errNoEngine = errors.New("no Docker engine answers")

const (
	project = "batchagent-test"
	version = "composetest" // tag of the built images
	network = project + "_cluster"
	token   = "a-token-of-this-test"
)

// cluster runs the compose file on a Docker engine.
type cluster struct {
	settings
	program []string // the command of Compose
	files   string   // the folder that is mounted as /files
	env     []string
	ports   struct{ coordinator, prometheus string } // on loopback

	overlaid  []string // arguments of Compose that select other files and a profile; empty uses the defaults
	providing bool     // the engine may hold images that replace others
}

func newCluster(ctx context.Context, s settings) (*cluster, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, fmt.Errorf("%w: docker is not on the PATH; install Docker and start its engine", errNoEngine)
	}
	if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: start it, or set DOCKER_HOST to the one to use\n%s", errNoEngine, bytes.TrimSpace(out))
	}
	c := &cluster{settings: s, program: []string{"docker", "compose"}}
	switch {
	case s.compose != "":
		c.program = strings.Fields(s.compose)
	case exec.CommandContext(ctx, "docker", "compose", "version").Run() != nil:
		c.program = []string{"docker-compose"}
		if _, err := exec.LookPath("docker-compose"); err != nil {
			return nil, errors.New("neither `docker compose` nor docker-compose is installed; install the Compose plugin of Docker")
		}
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	if c.files, err = os.MkdirTemp("", "composetest-"); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	if err := os.Chmod(c.files, 0o755); err != nil { // containers run as another user
		return nil, fmt.Errorf("show the directory: %w", err)
	}
	c.ports.coordinator, c.ports.prometheus = ports[0], ports[1]
	c.env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+project, "BATCHAGENT_VERSION="+version, "BATCHAGENT_FILES="+c.files,
		"VLLM_VERSION="+version, "SGLANG_VERSION="+version, "LMCACHE_VERSION="+version, "VLLM_CPUS=1", "LMCACHE_CPUS=1",
		"COORDINATOR_PORT="+ports[0], "PROMETHEUS_PORT="+ports[1], "GRAFANA_PORT="+ports[2],
		// With 8 slots and 0.6 s per model call, the faults strike in the middle of the batch.
		"BATCHAGENT_MAX_INFLIGHT=8", "SIM_FORWARD_MS=600", "SIM_TOKEN_MS=0", "SIM_TOOL_TURNS=4",
		"BATCHAGENT_REDIS_PASSWORD=a-password-of-this-test", "BATCHAGENT_API_TOKEN="+token)
	if exec.CommandContext(ctx, "docker", "buildx", "version").Run() != nil {
		c.env = append(c.env, "DOCKER_BUILDKIT=0")
	}
	return c, nil
}

func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}

// composed returns a command line of Compose.
func (c *cluster) composed(args ...string) []string {
	return slices.Concat(c.program, c.overlaid, args)
}

// once returns a command line that runs the coordinator's image, as a user would.
func (c *cluster) once(args ...string) []string {
	return c.composed(append([]string{"run", "--rm", "-T", "coordinator"}, args...)...)
}

// output runs a program in the folder of the compose file and returns its standard output.
func (c *cluster) output(ctx context.Context, what string, argv ...string) ([]byte, error) {
	var out, stderr bytes.Buffer
	cmd := c.command(ctx, argv...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if c.verbose {
		cmd.Stderr = io.MultiWriter(&stderr, os.Stderr)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s (%s): %w\n%s%s", what, strings.Join(argv, " "), err, tail(out.Bytes()), tail(stderr.Bytes()))
	}
	return out.Bytes(), nil
}

func (c *cluster) run(ctx context.Context, what string, argv ...string) error {
	out, err := c.output(ctx, what, argv...)
	if c.verbose {
		_, _ = os.Stderr.Write(out)
	}
	return err
}

func (c *cluster) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "..", c.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// tail returns the end of a program's output.
func tail(b []byte) []byte {
	const most = 4 << 10
	if len(b) > most {
		return append([]byte("…"), b[len(b)-most:]...)
	}
	return b
}

// container returns the ID of a service's container.
func (c *cluster) container(ctx context.Context, service string) (string, error) {
	out, err := c.output(ctx, "find "+service, "docker", "ps", "-aq", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+project, "--filter", "label=com.docker.compose.service="+service,
		"--filter", "label=com.docker.compose.oneoff=False")
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(out))
	if id == "" || strings.Contains(id, "\n") {
		return "", fmt.Errorf("service %s must have exactly one container, but has %q", service, id)
	}
	return id, nil
}

// explain prints the end of every log after a failure.
func (c *cluster) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"ps"}, {"logs", "--no-color", "--tail=15"}} {
		if out, err := c.output(ctx, "explain", c.composed(args...)...); err == nil {
			_, _ = os.Stderr.Write(out)
		}
	}
}

// down removes the cluster with its volumes.
func (c *cluster) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return c.run(ctx, "clean up", c.composed("down", "--volumes", "--remove-orphans", "--timeout", "5")...)
}

// close removes everything that the test created.
func (c *cluster) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := c.down()
	if !c.keep {
		err = errors.Join(err, c.removeImages(ctx))
	}
	return errors.Join(err, os.RemoveAll(c.files))
}

func (c *cluster) removeImages(ctx context.Context) error {
	var names []string
	for _, service := range []string{"worker", "coordinator", "vllmsim"} {
		names = append(names, "batchagent/"+service+":"+version)
	}
	if c.providing {
		out, err := c.output(ctx, "find stand-ins", "docker", "images", "--filter", "label="+standinLabel, "--format", "{{.Repository}}:{{.Tag}}")
		if err != nil {
			return err
		}
		names = append(names, strings.Fields(string(out))...)
	}
	for _, name := range names {
		if c.present(ctx, name) {
			if err := c.run(ctx, "remove the image", "docker", "rmi", name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cluster) present(ctx context.Context, image string) bool {
	return c.command(ctx, "docker", "image", "inspect", image).Run() == nil
}

// cache returns a folder that outlives the test.
func cache(name string) (string, error) {
	root, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for stand-ins: %w", err)
	}
	dir := filepath.Join(root, "batchagent", "compose-standins", name)
	return dir, os.MkdirAll(dir, 0o755)
}
