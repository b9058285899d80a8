package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadRedisTLSFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for name, c := range map[string]struct {
		url, says string
		env       map[string]string
	}{
		"none":                          {"rediss://h", "", nil},
		"in clear":                      {"redis://h", "write rediss://", map[string]string{"CA": empty}},
		"a cluster in clear":            {"redis-cluster://h", "?tls=true", map[string]string{"CA": empty}},
		"tls=true only in the password": {"redis://:tls=true@h", "write rediss://", map[string]string{"CA": empty}},
		"an empty file":                 {"rediss://h", "holds no certificate", map[string]string{"CA": empty}},
		"no file":                       {"redis-sentinel://h?tls=true", "no/such", map[string]string{"CA": "/no/such"}},
		"half a pair":                   {"rediss://h", "go together", map[string]string{"KEY": empty}},
		"an invalid pair":               {"rediss://h", "BATCHAGENT_REDIS_CERT", map[string]string{"KEY": empty, "CERT": empty}},
	} {
		_, err := ReadRedis(c.url, func(k string) string { return c.env[k[len("BATCHAGENT_REDIS_"):]] })
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, c.says, name)
	}
}
