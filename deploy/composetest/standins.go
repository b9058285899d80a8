package main

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// standinLabel marks an image that this test created under the name of another one. Its value is the recipe's key.
const standinLabel = "io.batchagent.stand-in"

// pulling is the time limit of one pull. An engine without internet access fails immediately.
const pulling = 5 * time.Minute

// images returns the images that the compose file and the Dockerfile name but do not build.
func (c *cluster) images(ctx context.Context) ([]string, error) {
	out, err := c.output(ctx, "read the compose file", c.composed("config")...)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		return nil, err
	}
	from := regexp.MustCompile(`(?m)^FROM (golang:\S+)`).FindSubmatch(dockerfile)
	if from == nil {
		return nil, errors.New("the Dockerfile names no image of Go")
	}
	images := []string{string(from[1])}
	for line := range strings.Lines(string(out)) {
		image, ok := strings.CutPrefix(strings.TrimSpace(line), "image: ")
		// docker-compose 1.29 lists services of every profile. The GPU services are not started.
		if ok && !seen[image] && !strings.HasPrefix(image, "batchagent/") && !strings.HasPrefix(image, "vllm/") {
			images = append(images, image)
			seen[image] = true
		}
	}
	return images, nil
}

// provide pulls images. It replaces those that cannot be pulled, and returns the replacements.
func (c *cluster) provide(ctx context.Context, images []string) (made []string, err error) {
	for _, image := range images {
		label, err := c.output(ctx, "inspect", "docker", "image", "ls", "--filter", "reference="+image, "--filter", "label="+standinLabel, "-q")
		if err != nil {
			return nil, err
		}
		if len(label) == 0 && c.present(ctx, image) {
			continue
		}
		pull, cancel := context.WithTimeout(ctx, pulling)
		err = c.run(pull, "pull", "docker", "pull", "-q", image)
		cancel()
		if err == nil {
			continue
		}
		of, e := c.standin(ctx, image)
		if e != nil {
			return nil, fmt.Errorf("%w\nand its stand-in could not be created: %w", err, e)
		}
		made = append(made, image+" ("+of+")")
	}
	return made, nil
}

// standin creates an image under a name that cannot be pulled.
func (c *cluster) standin(ctx context.Context, image string) (of string, err error) {
	c.providing = true
	var r *recipe
	switch name, _, _ := strings.Cut(image, ":"); name {
	case "redis":
		r, err = redisImage()
	case "golang":
		r, err = golangImage(ctx)
	case "prom/prometheus":
		r, err = prometheusImage(ctx)
	case "oliver006/redis_exporter":
		r, err = exporterImage(ctx)
	case "grafana/grafana":
		r, err = grafanaImage(ctx)
	default:
		return "", fmt.Errorf("no recipe for %s", image)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", image, err)
	}
	there, err := c.command(ctx, "docker", "image", "inspect", "--format", `{{index .Config.Labels "`+standinLabel+`"}}`, image).Output()
	if err == nil && r.key != "" && strings.TrimSpace(string(there)) == r.key {
		return r.of, nil // left by an earlier run
	}
	r.changes = append(r.changes, fmt.Sprintf("LABEL %s=%q", standinLabel, r.key))
	return r.of, c.importImage(ctx, image, r)
}

// recipe is an image of one layer.
type recipe struct {
	of      string   // its source, for people
	key     string   // identifies the content; "" if it is unknown before the build
	changes []string // Dockerfile instructions
	fill    func(*layer) error
}

// importImage streams a layer into the engine.
func (c *cluster) importImage(ctx context.Context, image string, r *recipe) error {
	argv := []string{"docker", "import"}
	for _, change := range r.changes {
		argv = append(argv, "--change", change)
	}
	cmd := c.command(ctx, append(argv, "-", image)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("import %s: %w", image, err)
	}
	buffered := bufio.NewWriterSize(in, 1<<20)
	l := &layer{w: tar.NewWriter(buffered), libs: map[string]bool{}}
	filled := errors.Join(r.fill(l), l.w.Close(), buffered.Flush(), in.Close())
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("import %s: %w: %s", image, errors.Join(err, filled), stderr.String())
	}
	return filled
}

// layer writes the files of an image. A library of several programs is written once.
type layer struct {
	w    *tar.Writer
	libs map[string]bool
}

func (l *layer) folder(name string, mode int64, uid int) error {
	return l.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: uid, Gid: uid})
}

func (l *layer) link(name, to string) error {
	return l.w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777})
}

func (l *layer) file(name, from string, mode fs.FileMode) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := l.w.WriteHeader(&tar.Header{Name: name, Mode: int64(mode.Perm()), Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(l.w, f)
	return err
}

// tree copies a folder. skip is called with paths below it.
func (l *layer) tree(name, from string, skip func(string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if skip(filepath.ToSlash(below)) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return l.folder(filepath.Join(name, below), 0o755, 0)
		case info.Mode().IsRegular():
			return l.file(filepath.Join(name, below), path, info.Mode())
		}
		return nil
	})
}

// program copies an executable with its shared libraries.
func (l *layer) program(name, from string) error {
	path, err := exec.LookPath(from)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	if err := l.file(name, path, 0o755); err != nil {
		return err
	}
	binary, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer binary.Close()
	if binary.Section(".interp") == nil {
		return nil // static
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("ask for the libraries of %s: %w", path, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") && !l.libs[word] {
			l.libs[word] = true
			if err := l.file(strings.TrimPrefix(word, "/"), word, 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// shell adds busybox: sh, and the programs that health checks and entry points call.
func (l *layer) shell() error {
	if err := errors.Join(l.folder("bin", 0o755, 0), l.folder("tmp", 0o1777, 0)); err != nil {
		return err
	}
	if err := l.program("bin/busybox", "busybox"); err != nil {
		return fmt.Errorf("%w; install busybox-static", err)
	}
	for _, name := range []string{
		"sh", "cat", "grep", "wget", "awk", "basename", "chmod", "chown", "cp", "cut", "dirname", "head", "mkdir", "mktemp", "mv", "od", "rm", "sha256sum", "tr",
	} {
		if err := l.link("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

func redisImage() (*recipe, error) {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%w; install redis-server", err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(string(out), "Redis server v="), " ")
	return &recipe{
		of:      "redis-server " + version,
		key:     version,
		changes: []string{"ENV PATH=/usr/local/bin:/bin", "WORKDIR /data", "VOLUME /data", `CMD ["redis-server"]`},
		fill: func(l *layer) error {
			return errors.Join(l.shell(), l.folder("data", 0o755, 999),
				l.program("usr/local/bin/redis-server", "redis-server"), l.program("usr/local/bin/redis-cli", "redis-cli"))
		},
	}, nil
}

func prometheusImage(ctx context.Context) (*recipe, error) {
	dir, version, err := debian(ctx, "prometheus")
	if err != nil {
		return nil, err
	}
	return &recipe{
		of:  "Debian's " + version,
		key: version,
		changes: []string{"ENV PATH=/bin", "WORKDIR /prometheus", "VOLUME /prometheus", "USER 65534", `ENTRYPOINT ["/bin/prometheus"]`,
			`CMD ["--config.file=/etc/prometheus/prometheus.yml","--storage.tsdb.path=/prometheus"]`},
		fill: func(l *layer) error {
			return errors.Join(l.shell(), l.folder("prometheus", 0o755, 65534),
				l.program("bin/prometheus", filepath.Join(dir, "usr/bin/prometheus")), l.program("bin/promtool", filepath.Join(dir, "usr/bin/promtool")))
		},
	}, nil
}

func exporterImage(ctx context.Context) (*recipe, error) {
	dir, version, err := debian(ctx, "prometheus-redis-exporter")
	if err != nil {
		return nil, err
	}
	return &recipe{
		of:      "Debian's " + version,
		key:     version,
		changes: []string{`ENTRYPOINT ["/redis_exporter"]`},
		fill: func(l *layer) error {
			return l.program("redis_exporter", filepath.Join(dir, "usr/bin/prometheus-redis-exporter"))
		},
	}, nil
}

func grafanaImage(ctx context.Context) (*recipe, error) {
	dir, err := cache("grafana")
	if err != nil {
		return nil, err
	}
	if err := goBuild(ctx, dir, "./grafana"); err != nil {
		return nil, err
	}
	return &recipe{
		of:      "a check of its provisioning files",
		changes: []string{"ENV PATH=/bin", "USER 472", "VOLUME /var/lib/grafana", `ENTRYPOINT ["/grafana"]`},
		fill: func(l *layer) error {
			return errors.Join(l.shell(), l.folder("var/lib/grafana", 0o755, 472), l.program("grafana", filepath.Join(dir, "grafana")))
		},
	}, nil
}

// goBuild builds a static program into dir.
func goBuild(ctx context.Context, dir, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stand-in %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// debian downloads a package with apt and unpacks it. It does not install it, because its service must not start here.
func debian(ctx context.Context, name string) (dir, version string, err error) {
	if dir, err = cache(name); err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", `set -e; rm -f ./*.deb; apt-get download -q "$0" >&2; dpkg -x ./*.deb .; ls ./*.deb`, name)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			stderr = e.Stderr
		}
		return "", "", fmt.Errorf("fetch Debian's package %s: %w: %s (run apt-get update first)", name, err, stderr)
	}
	parts := strings.SplitN(filepath.Base(strings.TrimSpace(string(out))), "_", 3)
	return dir, strings.Join(parts[:min(2, len(parts))], " "), nil
}

// golangImage contains this machine's Go, the modules of the repository, and the build cache of the Dockerfile's build. The build
// in the image then needs no network and takes seconds instead of minutes.
func golangImage(ctx context.Context) (*recipe, error) {
	modules, err := cache("modules")
	if err != nil {
		return nil, err
	}
	compiled, err := cache("go-build")
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	var env struct{ GOROOT, GOMODCACHE, GOPROXY string }
	out, err := exec.CommandContext(ctx, "go", "env", "-json", "GOROOT", "GOMODCACHE", "GOPROXY").Output()
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			return nil, err
		}
		sum.Write(text)
	}
	// One folder per go.sum, so that the image contains only these modules.
	modules = filepath.Join(modules, fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	return &recipe{
		of:  runtime.Version() + " of this machine, with its modules",
		key: fmt.Sprintf("%s %x", runtime.Version(), sum.Sum(nil)[:8]),
		changes: []string{"ENV PATH=/usr/local/go/bin:/bin", "ENV GOPATH=/go", "ENV GOMODCACHE=/go/pkg/mod", "ENV GOCACHE=/root/.cache/go-build",
			"ENV HOME=/root", "ENV GOTOOLCHAIN=local", "WORKDIR /go"},
		fill: func(l *layer) error {
			if err := compile(ctx, modules, compiled, env.GOMODCACHE, env.GOPROXY); err != nil {
				return err
			}
			nothing := func(string) bool { return false }
			return errors.Join(l.shell(), l.file("etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt", 0o644),
				l.tree("usr/local/go", env.GOROOT, func(below string) bool {
					return below == "test" || below == "api" || below == "doc" || strings.HasSuffix(below, "/testdata")
				}),
				l.tree("go/pkg/mod", modules, nothing), l.tree("root/.cache/go-build", compiled, nothing))
		},
	}, nil
}

// compile downloads the modules, preferably from this machine's cache, and compiles like the Dockerfile.
func compile(ctx context.Context, modules, compiled, from, proxy string) error {
	older, err := filepath.Glob(filepath.Join(filepath.Dir(modules), "*"))
	if err != nil {
		return err
	}
	for _, dir := range older {
		if dir != modules {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	for _, step := range []struct {
		args []string
		env  []string
	}{
		{[]string{"mod", "download"}, []string{"GOMODCACHE=" + modules, "GOPROXY=file://" + from + "/cache/download," + proxy}},
		{[]string{"build", "-trimpath", "-ldflags", "-s -w", "./cmd/...", "./deploy/probe"}, []string{"GOCACHE=" + compiled}},
	} {
		cmd := exec.CommandContext(ctx, "go", step.args...)
		cmd.Dir, cmd.Env = "../..", slices.Concat(os.Environ(), []string{"GOFLAGS=-buildvcs=false -modcacherw", "CGO_ENABLED=0"}, step.env)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(step.args, " "), err, out)
		}
	}
	return nil
}
