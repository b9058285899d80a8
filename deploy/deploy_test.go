// Package deploy_test checks the files in deploy/ without an engine. Metrics must exist, and services must have limits, health checks
// and an unprivileged user. deploy/composetest starts the services.
package deploy_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// TestMetricNames checks that panels and rules query existing metrics of workers and inference servers. docs/metrics.md lists the
// metrics of a worker; a test in internal/worker compares it with the registry.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(batchagent_[a-z_]+)`").FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1) {
		known[m[1]] = true
	}
	require.NotEmpty(t, known)
	sim, err := vllmsim.New(vllmsim.Config{})
	require.NoError(t, err)
	page := httptest.NewRecorder()
	sim.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	recorded := read(t, "../pkg/backend/backendtest/testdata/sglang-0.5.23/pool/metrics-under-load.response")
	for _, m := range regexp.MustCompile(`(?m)^((?:vllm|sglang):[a-z_0-9]+)`).FindAllStringSubmatch(page.Body.String()+recorded, -1) {
		known[m[1]] = true
	}
	asked := regexp.MustCompile(`(batchagent_|vllm:|sglang:)[a-z_]+`)
	for _, file := range []string{"grafana/dashboards/batchagent.json", "prometheus/alerts.yml"} {
		names := asked.FindAllString(read(t, file), -1)
		assert.NotEmpty(t, names, file)
		for _, name := range names {
			assert.True(t, known[name], "%s queries %s, which does not exist", file, name)
		}
	}
}

// service has the fields that every service of a compose file must set.
type service struct {
	Image       string
	User        string
	Restart     string
	ReadOnly    bool           `yaml:"read_only"`
	CapDrop     []string       `yaml:"cap_drop"`
	IPC         string         `yaml:"ipc"`
	SecurityOpt []string       `yaml:"security_opt"`
	MemLimit    string         `yaml:"mem_limit"`
	PidsLimit   int            `yaml:"pids_limit"`
	CPUs        any            `yaml:"cpus"` // a number, or a variable
	Healthcheck map[string]any `yaml:"healthcheck"`
	Logging     map[string]any `yaml:"logging"`
	Ports       []string       `yaml:"ports"`
}

// TestServicesHaveLimits reads each file alone, because overlays change only images and commands.
func TestServicesHaveLimits(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"docker-compose.yml", "node.yml"} {
		var f struct{ Services map[string]service }
		require.NoError(t, yaml.UnmarshalWithOptions([]byte(read(t, file)), &f, yaml.AllowDuplicateMapKey()), file)
		require.NotEmpty(t, f.Services, file)
		for name, s := range f.Services {
			where := file + ": " + name
			assert.True(t, s.ReadOnly, "%s: the root file system is writable", where)
			assert.Equal(t, []string{"ALL"}, s.CapDrop, where)
			assert.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, where)
			assert.Empty(t, s.IPC, "%s: shares memory with other containers", where)
			assert.NotEmpty(t, s.MemLimit, "%s: memory has no limit", where)
			assert.NotEmpty(t, s.Logging, "%s: logs have no limit", where)
			assert.NotEmpty(t, s.Healthcheck, "%s: no health check", where)
			if s.Restart == "no" && (name == "models" || name == "secrets") {
				continue // runs once, before the others
			}
			assert.Equal(t, "unless-stopped", s.Restart, where)
			assert.NotZero(t, s.PidsLimit, "%s: processes have no limit", where)
			assert.NotZero(t, s.CPUs, "%s: CPU time has no limit", where)
			// The images of batchagent set their own user.
			if !strings.HasPrefix(s.Image, "batchagent/") {
				assert.Regexp(t, `^[1-9]\d*:\d+$`, s.User, "%s: runs as root or as the user of the image", where)
			}
			for _, port := range s.Ports {
				assert.Regexp(t, `^(127\.0\.0\.1|\$\{METRICS_BIND:-127\.0\.0\.1\}):`, port, "%s: other machines reach it", where)
			}
		}
	}
	assert.Contains(t, read(t, "Dockerfile"), "\nUSER 65532:65532\n")
}

// TestNoSecrets checks that passwords, keys and tokens come from the environment, and that the files have no values for them.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.yml")
	require.NoError(t, err)
	units, err := filepath.Glob("systemd/*")
	require.NoError(t, err)
	assign := regexp.MustCompile(`(?i)^\s*-?\s*([a-z_]*(?:password|token|api_key|secret))\s*[:=]\s*(\S.*)$`)
	found := 0
	for _, file := range append(append(files, units...), ".env") {
		for line := range strings.Lines(read(t, file)) {
			m := assign.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			found++
			assert.Regexp(t, `^\$\{[A-Z_]+:(-\}|\?)`, m[2], "%s: %s", file, line)
		}
	}
	assert.NotZero(t, found)
}

// TestImagesArePinned checks that every image has an exact version, and that Redis has its last free licence.
func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`(?m)^\s*(?:-?\s*image:|FROM) (?:&\S+ )?([a-z][^\s*]*)`)
	exact := regexp.MustCompile(`:(?:\$\{[A-Z_]+:-)?v?\d+\.\d+\.\d+(?:@sha256:[0-9a-f]{64})?\}?$`)
	files, err := filepath.Glob("*.yml")
	require.NoError(t, err)
	found := 0
	for _, file := range append(files, "kubernetes.yaml", "Dockerfile") {
		for _, m := range named.FindAllStringSubmatch(read(t, file), -1) {
			image := m[1]
			if strings.HasPrefix(image, "batchagent/") || image == "scratch" || image == "base" {
				continue
			}
			found++
			assert.Regexp(t, exact, image, file)
			if strings.HasPrefix(image, "redis:") {
				assert.Regexp(t, `^redis:7\.2\.`, image, "%s: later versions have another licence", file)
			}
		}
	}
	assert.Greater(t, found, 10)
}

// TestToolsDoNotSeeKeys checks that the folder of the tools has no certificates, and that no file for several users has a key.
func TestToolsDoNotSeeKeys(t *testing.T) {
	t.Parallel()
	assert.Contains(t, read(t, ".env"), "\nBATCHAGENT_FILES=../examples\n")
	for _, file := range []string{"docker-compose.yml", "node.yml"} {
		assert.Contains(t, read(t, file), "${BATCHAGENT_FILES:-../examples}:/files:ro", file)
		assert.NotContains(t, read(t, file), "${BATCHAGENT_FILES:-..}", file)
	}
	files, err := filepath.Glob("*.yml")
	require.NoError(t, err)
	for _, file := range files {
		assert.NotContains(t, read(t, file), "ipc: host", file)
	}
}
