package worker

import (
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// TestMetricsDocument compares docs/metrics.md with the metrics that a worker registers.
func TestMetricsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(batchagent_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	reg := prometheus.NewRegistry()
	m := newMetrics()
	w := &Worker{shared: &shared{metrics: m, server: &modelServer{}}}
	w.register(reg)
	m.ended(batch.Result{Status: batch.OK}, statestore.Committed)
	m.moved(batch.Pending, batch.Preflight)
	described := make(chan *prometheus.Desc, 100)
	reg.Describe(described)
	close(described)
	var registered []string
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range described {
		registered = append(registered, name.FindStringSubmatch(d.String())[1])
	}
	assert.ElementsMatch(t, documented, registered)
}
