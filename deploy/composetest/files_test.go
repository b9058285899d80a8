package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// load reads compose files like Compose v2, with the given profiles and variables.
func load(t *testing.T, env []string, profiles []string, files ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions(files, cli.WithEnv(env), cli.WithWorkingDirectory(".."), cli.WithEnvFiles(), cli.WithDotEnv,
		cli.WithDefaultProfiles(profiles...))
	require.NoError(t, err)
	return o.LoadProject(t.Context())
}

func TestProfiles(t *testing.T) {
	p, err := load(t, nil, nil, "../docker-compose.yml")
	require.NoError(t, err)
	assert.Equal(t, "batchagent", p.Name)
	assert.Contains(t, p.Services, "sim-4", "the profile of .env")
	assert.NotContains(t, p.Services, "gpu-1")
	assert.Contains(t, p.Services, "coordinator")
	gpu, err := load(t, nil, []string{"gpu"}, "../docker-compose.yml")
	require.NoError(t, err)
	assert.NotContains(t, gpu.Services, "sim-1", "a given profile replaces the one in .env")
	seen := map[string]bool{}
	for _, name := range []string{"gpu-1", "gpu-2", "gpu-3", "gpu-4"} {
		devices := gpu.Services[name].Deploy.Resources.Reservations.Devices
		require.Len(t, devices, 1)
		seen[devices[0].IDs[0]] = true
	}
	assert.Len(t, seen, 4, "one GPU each")
}

func TestOverlays(t *testing.T) {
	p, err := load(t, nil, []string{"gpu"}, "../docker-compose.yml", "../compose.sglang.yml")
	require.NoError(t, err)
	assert.Contains(t, p.Services["gpu-3"].Image, "sglang")
	assert.Contains(t, p.Services["gpu-3"].Entrypoint, "sglang.launch_server")
	assert.NotContains(t, p.Services["gpu-3"].HealthCheck.Test, "http://127.0.0.1:8000/health", "it would generate a token")
	assert.Equal(t, "sglang://inference-3:8000", *p.Services["worker-3"].Environment["BATCHAGENT_BACKEND"])
	assert.True(t, p.Services["gpu-3"].ReadOnly, "an overlay keeps all other settings")

	p, err = load(t, nil, []string{"gpu"}, "../docker-compose.yml", "../compose.lmcache.yml")
	require.NoError(t, err)
	assert.Contains(t, p.Services, "kvcache")
	assert.Contains(t, p.Services["gpu-4"].Command[len(p.Services["gpu-4"].Command)-1], "tcp://kvcache")

	p, err = load(t, nil, []string{"gpu"}, "../docker-compose.yml", "../compose.tls.yml", "../compose.sglang.yml")
	require.NoError(t, err)
	for name, s := range p.Services {
		if url, ok := s.Environment["BATCHAGENT_REDIS"]; ok {
			assert.Equal(t, "rediss://redis:6379", *url, name)
			ca := *s.Environment["BATCHAGENT_REDIS_CA"]
			assert.True(t, slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == ca }), name)
		}
	}
	assert.Equal(t, "rediss://redis:6379", *p.Services["redis-exporter"].Environment["REDIS_ADDR"])

	_, err = load(t, nil, nil, "../docker-compose.yml", "../compose.head.yml")
	require.ErrorContains(t, err, "set a password")
	p, err = load(t, []string{"BATCHAGENT_REDIS_PASSWORD=x", "REDIS_BIND=10.0.0.1"}, nil, "../docker-compose.yml", "../compose.head.yml")
	require.NoError(t, err)
	assert.Equal(t, "10.0.0.1", p.Services["redis"].Ports[0].HostIP)

	_, err = load(t, nil, nil, "../node.yml")
	require.ErrorContains(t, err, "the URL of Redis")
	node := []string{"BATCHAGENT_REDIS=rediss://10.0.0.1", "BATCHAGENT_ID=node-5"}
	_, err = load(t, node, nil, "../node.yml")
	require.NoError(t, err)
	p, err = load(t, node, nil, "../node.yml", "../node.tls.yml")
	require.NoError(t, err)
	assert.Equal(t, "/etc/batchagent/ca.crt", *p.Services["worker"].Environment["BATCHAGENT_REDIS_CA"])
}

// TestManifest decodes the Kubernetes manifest strictly into the API's types: unknown fields are errors.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile("../kubernetes.yaml")
	require.NoError(t, err)
	docs := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	kinds := map[string]int{}
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		var kind struct{ Kind string }
		require.NoError(t, strict.Unmarshal(doc, &kind))
		kinds[kind.Kind]++
		into, known := map[string]any{
			"ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{}, "StatefulSet": &appsv1.StatefulSet{}, "Deployment": &appsv1.Deployment{},
		}[kind.Kind]
		require.True(t, known, kind.Kind)
		require.NoError(t, strict.UnmarshalStrict(doc, into), "%s", doc)
		if d, ok := into.(*appsv1.Deployment); ok {
			assert.Len(t, d.Spec.Template.Spec.Containers, 2, "a worker and its server in one pod")
			for _, c := range d.Spec.Template.Spec.Containers {
				assert.NotNil(t, c.LivenessProbe, c.Name)
				assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation, c.Name)
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
						assert.Empty(t, e.Value)
					}
				}
			}
			assert.True(t, *d.Spec.Template.Spec.SecurityContext.RunAsNonRoot)
		}
	}
	assert.Equal(t, map[string]int{"ConfigMap": 1, "Service": 1, "StatefulSet": 1, "Deployment": 1}, kinds)
}
