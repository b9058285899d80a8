package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/batchagent/batchagent/pkg/sleep"
)

// variant is another set of files and servers. It starts a cluster and ends when a small batch has all its results.
type variant struct {
	name     string
	files    []string
	profile  string
	services []string // services to start, with their dependencies
	also     func(*story, context.Context) error
}

const variantJobs = 40

// Two nodes are enough to check that each worker finds its own server.
var variants = []variant{
	{
		"Redis over TLS", []string{"docker-compose.yml", "compose.tls.yml"}, "sim",
		[]string{"coordinator", "redis-exporter", "prometheus", "sim-1", "sim-2", "worker-1", "worker-2"}, (*story).onlyTLS,
	},
	{"vLLM", []string{"docker-compose.yml"}, "gpu", nodes, nil},
	{"SGLang", []string{"docker-compose.yml", "compose.sglang.yml"}, "gpu", nodes, nil},
	{"vLLM with LMCache", []string{"docker-compose.yml", "compose.lmcache.yml"}, "gpu", append([]string{"kvcache"}, nodes...), nil},
}

var nodes = []string{"coordinator", "gpu-1", "gpu-2", "worker-1", "worker-2"}

// played is one line of the table.
type played struct {
	variant
	took time.Duration
}

// playVariants plays each variant on its own cluster and removes the cluster afterwards.
func (c *cluster) playVariants(ctx context.Context) (done []played, err error) {
	if err := c.certificates(ctx); err != nil {
		return nil, err
	}
	if err := c.inferenceImages(ctx); err != nil {
		return nil, err
	}
	for _, v := range variants {
		began := time.Now()
		if err := c.playVariant(ctx, v); err != nil {
			return done, fmt.Errorf("%s: %w", v.name, err)
		}
		done = append(done, played{v, time.Since(began)})
		fmt.Fprintf(os.Stderr, "composetest: %s: %d of %d results after %.0fs\n", v.name, variantJobs, variantJobs, time.Since(began).Seconds())
	}
	return done, nil
}

func (c *cluster) playVariant(ctx context.Context, v variant) (err error) {
	own := *c
	own.jobs = variantJobs
	for _, file := range v.files {
		own.overlaid = append(own.overlaid, "-f", file)
	}
	own.overlaid = append(own.overlaid, "--profile", v.profile)
	if v.profile == "gpu" {
		file, err := own.withoutDevices(ctx)
		if err != nil {
			return err
		}
		own.overlaid = []string{"-f", file, "--profile", v.profile}
	}
	s := &story{cluster: &own, began: time.Now()}
	defer func() {
		if err != nil {
			own.explain()
		}
		err = errors.Join(err, own.down())
	}()
	if err := own.run(ctx, "start", own.composed(append([]string{"up", "-d"}, v.services...)...)...); err != nil {
		return err
	}
	if err := s.healthy(ctx); err != nil {
		return err
	}
	if err := s.submit(ctx); err != nil {
		return err
	}
	if err := s.judge(ctx); err != nil {
		return err
	}
	if v.also != nil {
		return v.also(s, ctx)
	}
	return nil
}

// onlyTLS checks that Redis refuses connections without TLS, and that Prometheus sees Redis.
func (s *story) onlyTLS(ctx context.Context) error {
	redis, err := s.container(ctx, "redis")
	if err != nil {
		return err
	}
	if out, err := s.output(ctx, "ping", "docker", "exec", redis, "sh", "-c",
		`REDISCLI_AUTH="$(cat /run/batchagent/monitor)" redis-cli --user monitor ping`); err == nil && strings.Contains(string(out), "PONG") {
		return errors.New("Redis also answers without TLS")
	}
	for {
		up, err := s.query(ctx, "redis_up")
		if err == nil && len(up) == 1 && up[0].Value[1] == "1" {
			return nil
		}
		if e := sleep.For(ctx, asking); e != nil {
			return fmt.Errorf("redis_up is %v: %w", up, errors.Join(e, err))
		}
	}
}

// certificates creates certificates as described in docs/deploy.md.
func (c *cluster) certificates(ctx context.Context) error {
	dir := filepath.Join(c.files, "tls")
	c.env = append(c.env, "REDIS_TLS="+filepath.Join(dir, "redis"))
	return c.run(ctx, "make certificates", "redis/certificates.sh", dir)
}

// withoutDevices writes the resolved compose files without the parts that request GPUs or more processors than a laptop has.
func (c *cluster) withoutDevices(ctx context.Context) (string, error) {
	out, err := c.output(ctx, "read the compose files", c.composed("config")...)
	if err != nil {
		return "", err
	}
	var read map[string]any
	if err := yaml.Unmarshal(out, &read); err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(c.overlaid, " "), err)
	}
	services, _ := read["services"].(map[string]any)
	asked := 0
	for _, s := range services {
		if service, ok := s.(map[string]any); ok && service["deploy"] != nil {
			asked++
			delete(service, "deploy")
		}
	}
	if asked < 4 {
		return "", fmt.Errorf("%d services ask for a GPU", asked)
	}
	text, err := json.Marshal(read) // JSON, which every YAML reader understands
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.files, "without-devices.yml")
	return file, os.WriteFile(file, text, 0o600)
}

// inferenceImages tags the stand-in with the image names of the inference servers and this test's tag. The real images are about
// 10 GB each and need a GPU, so the test does not pull them.
func (c *cluster) inferenceImages(ctx context.Context) error {
	dir, err := cache("inference")
	if err != nil {
		return err
	}
	if err := goBuild(ctx, dir, "./inference"); err != nil {
		return err
	}
	c.providing = true
	for image, programs := range map[string][]string{
		"vllm/vllm-openai": {"vllm"}, "lmsysorg/sglang": {"python3"}, "lmcache/vllm-openai": {"vllm", "lmcache", "python3"},
	} {
		r := &recipe{
			changes: []string{"ENV PATH=/bin", "LABEL " + standinLabel + `=""`},
			fill: func(l *layer) error {
				err := errors.Join(l.shell(), l.folder("cache", 0o755, 0),
					l.program("bin/inference", filepath.Join(dir, "inference")))
				for _, name := range append([]string{"curl"}, programs...) {
					err = errors.Join(err, l.link("bin/"+name, "inference"))
				}
				return err
			},
		}
		if err := c.importImage(ctx, image+":"+version, r); err != nil {
			return err
		}
	}
	return nil
}
