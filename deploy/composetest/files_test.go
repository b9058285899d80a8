package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
	assert.Contains(t, p.Services["gpu-3"].Entrypoint[2], "sglang.launch_server")
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
			assert.Regexp(t, `^rediss://(worker|coordinator)@redis:6379$`, *url, name)
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
	_, err = load(t, []string{"BATCHAGENT_REDIS=rediss://10.0.0.1", "BATCHAGENT_ID=node-5"}, nil, "../node.yml")
	require.ErrorContains(t, err, "a key between the worker and its server")
	node := []string{"BATCHAGENT_REDIS=rediss://10.0.0.1", "BATCHAGENT_ID=node-5", "BATCHAGENT_API_KEY=x"}
	_, err = load(t, node, nil, "../node.yml")
	require.NoError(t, err)
	p, err = load(t, node, nil, "../node.yml", "../node.tls.yml")
	require.NoError(t, err)
	assert.Equal(t, "/etc/batchagent/ca.crt", *p.Services["worker"].Environment["BATCHAGENT_REDIS_CA"])
}

// TestKeysComeFromFiles checks that services read keys from files of their own and not from the environment.
func TestKeysComeFromFiles(t *testing.T) {
	p, err := load(t, nil, []string{"gpu"}, "../docker-compose.yml")
	require.NoError(t, err)
	mounted := map[string]string{}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Target == "/run/batchagent" {
				mounted[name] = v.Source
				assert.True(t, v.ReadOnly, name)
			}
		}
		if name == "secrets" {
			continue
		}
		for _, variable := range []string{"BATCHAGENT_REDIS_PASSWORD", "BATCHAGENT_API_KEY", "REDIS_PASSWORD", "VLLM_API_KEY"} {
			assert.NotContains(t, s.Environment, variable, name)
		}
	}
	assert.Equal(t, map[string]string{
		"redis": "redis-secrets", "redis-exporter": "monitor-secrets", "coordinator": "coordinator-secrets",
		"worker-1": "worker-secrets", "worker-2": "worker-secrets", "worker-3": "worker-secrets", "worker-4": "worker-secrets",
		"gpu-1": "inference-secrets", "gpu-2": "inference-secrets", "gpu-3": "inference-secrets", "gpu-4": "inference-secrets",
	}, mounted)
	assert.Contains(t, p.Services["gpu-1"].Entrypoint[2], "VLLM_API_KEY")
	assert.NotZero(t, p.Services["gpu-1"].ShmSize)
}

// manifest holds the objects of kubernetes.yaml in the API's own types. Unknown fields are errors.
type manifest struct {
	config   corev1.ConfigMap
	redis    appsv1.StatefulSet
	worker   appsv1.Deployment
	policies map[string]networkingv1.NetworkPolicySpec
	kinds    map[string]int
}

func readManifest(t *testing.T) manifest {
	t.Helper()
	text, err := os.ReadFile("../kubernetes.yaml")
	require.NoError(t, err)
	docs := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	m := manifest{policies: map[string]networkingv1.NetworkPolicySpec{}, kinds: map[string]int{}}
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return m
		}
		require.NoError(t, err)
		var kind struct{ Kind string }
		require.NoError(t, strict.Unmarshal(doc, &kind))
		m.kinds[kind.Kind]++
		var policy networkingv1.NetworkPolicy
		into, known := map[string]any{
			"ConfigMap": &m.config, "Service": &corev1.Service{}, "StatefulSet": &m.redis, "Deployment": &m.worker, "NetworkPolicy": &policy,
		}[kind.Kind]
		require.True(t, known, kind.Kind)
		require.NoError(t, strict.UnmarshalStrict(doc, into), "%s", doc)
		if kind.Kind == "NetworkPolicy" {
			m.policies[policy.Name] = policy.Spec
		}
	}
}

func TestManifest(t *testing.T) {
	m := readManifest(t)
	assert.Equal(t, map[string]int{"ConfigMap": 1, "Service": 1, "StatefulSet": 1, "Deployment": 1, "NetworkPolicy": 5}, m.kinds)
	assert.Len(t, m.worker.Spec.Template.Spec.Containers, 2, "a worker and its server in one pod")
	for _, c := range m.worker.Spec.Template.Spec.Containers {
		assert.NotNil(t, c.LivenessProbe, c.Name)
	}
	for _, pod := range []corev1.PodSpec{m.redis.Spec.Template.Spec, m.worker.Spec.Template.Spec} {
		require.NotNil(t, pod.SecurityContext)
		assert.True(t, *pod.SecurityContext.RunAsNonRoot)
		assert.NotZero(t, *pod.SecurityContext.RunAsUser)
		assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		assert.False(t, *pod.AutomountServiceAccountToken)
		assert.False(t, pod.HostNetwork || pod.HostIPC || pod.HostPID)
		for _, c := range append(pod.InitContainers, pod.Containers...) {
			require.NotNil(t, c.SecurityContext, c.Name)
			assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation, c.Name)
			assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, "%s: the root file system can be written", c.Name)
			assert.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, c.Name)
			assert.NotZero(t, c.Resources.Limits.Memory().Value(), "%s: memory has no limit", c.Name)
			for _, e := range c.Env {
				if regexp.MustCompile(`(PASSWORD|AUTH|TOKEN|API_KEY)$`).MatchString(e.Name) {
					assert.Empty(t, e.Value, e.Name)
					assert.NotNil(t, e.ValueFrom.SecretKeyRef, e.Name)
				}
			}
		}
		for _, v := range pod.Volumes {
			assert.Nil(t, v.HostPath, v.Name)
			if v.Secret != nil && v.Secret.Items == nil {
				require.NotNil(t, v.Secret.DefaultMode, "%s: everybody in the container reads the key", v.Name)
				assert.Zero(t, *v.Secret.DefaultMode&0o007, v.Name)
			}
		}
	}
}

func TestManifestEncryptsRedis(t *testing.T) {
	m := readManifest(t)
	assert.Regexp(t, `(?m)^port 0\ntls-port 6379$`, m.config.Data["redis.conf"], "nobody gets in without TLS")
	assert.Contains(t, m.config.Data["redis.conf"], "\naclfile /users/users.acl\n")
	for _, name := range []string{"users.acl", "users.sh"} {
		text, err := os.ReadFile("../redis/" + name)
		require.NoError(t, err)
		assert.Equal(t, string(text), m.config.Data[name], "copy deploy/redis/%s into kubernetes.yaml", name)
	}
	env := map[string]string{}
	for _, e := range m.worker.Spec.Template.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	assert.Equal(t, "rediss://worker@redis:6379", env["BATCHAGENT_REDIS"])
	assert.NotEmpty(t, env["BATCHAGENT_REDIS_CA"])
	keys := map[string]string{}
	for _, c := range m.worker.Spec.Template.Spec.Containers {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				keys[e.Name] = e.ValueFrom.SecretKeyRef.Key
			}
		}
	}
	assert.Equal(t, "inference-key", keys["VLLM_API_KEY"])
	assert.Equal(t, "inference-key", keys["BATCHAGENT_API_KEY"])
}

func TestManifestLimitsTheNetwork(t *testing.T) {
	policies := readManifest(t).policies
	both := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	deny := policies["deny"]
	assert.Empty(t, deny.PodSelector.MatchLabels, "every pod")
	assert.Equal(t, both, deny.PolicyTypes)
	assert.Empty(t, deny.Ingress)
	assert.Empty(t, deny.Egress)
	for name, policy := range policies {
		for _, rule := range policy.Ingress {
			assert.NotEmpty(t, rule.From, "%s: from anywhere", name)
			assert.NotEmpty(t, rule.Ports, "%s: any port", name)
		}
		for _, rule := range policy.Egress {
			assert.NotEmpty(t, rule.To, "%s: to anywhere", name)
			assert.NotEmpty(t, rule.Ports, "%s: any port", name)
			for _, to := range rule.To {
				if to.IPBlock != nil {
					assert.NotEmpty(t, to.IPBlock.Except, "%s: private addresses", name)
				}
			}
		}
	}
	assert.Equal(t, map[string]string{"app": "redis"}, policies["redis"].PodSelector.MatchLabels)
	assert.Len(t, policies["redis"].Ingress, 1)
	assert.Empty(t, policies["redis"].Egress, "Redis reaches nothing")
	assert.Equal(t, both, policies["worker"].PolicyTypes)
	assert.EqualValues(t, 9100, policies["worker"].Ingress[0].Ports[0].Port.IntVal)
}
