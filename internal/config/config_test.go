package config

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEnv(t *testing.T) {
	assert.Equal(t, []string{"BATCHAGENT_TOOLS_ROOT"}, Env("tools-root"))
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := Logger(&b, "warn", "json")
	require.NoError(t, err)
	log.Info("quiet")
	log.Warn("loud", "n", 1)
	assert.Contains(t, b.String(), `"msg":"loud","n":1`)
	assert.NotContains(t, b.String(), "quiet")

	_, err = Logger(&b, "chatty", "text")
	assert.ErrorContains(t, err, `"chatty"`)
	_, err = Logger(&b, "info", "xml")
	assert.ErrorContains(t, err, `"xml"`)
}

func TestRedisURL(t *testing.T) {
	for name, c := range map[string]struct {
		raw, password, want, err string
	}{
		"as it is":                {raw: "redis://h:1/2", want: "redis://h:1/2"},
		"password from variable":  {raw: "redis://h:1/2", password: "a/b#c", want: "redis://:a%2Fb%23c@h:1/2"},
		"user keeps its name":     {raw: "rediss://me@h:1", password: "pw", want: "rediss://me:pw@h:1"},
		"password in the URL won": {raw: "redis://:mine@h:1", password: "pw", want: "redis://:mine@h:1"},
		"unix":                    {raw: "unix:///run/redis.sock?db=1", password: "pw", want: "unix://:pw@/run/redis.sock?db=1"},
		"cluster":                 {raw: "redis-cluster://a:1,b:2", want: "redis-cluster://a:1,b:2"},
		"sentinel":                {raw: "redis-sentinel://a:1,b:2/0?master_name=m", password: "pw", want: "redis-sentinel://:pw@a:1,b:2/0?master_name=m"},
		"scheme":                  {raw: "http://h", err: "a Redis URL starts with"},
		"no scheme":               {raw: "localhost:6379", err: "a Redis URL starts with"},
		"no server":               {raw: "redis://", err: "names no server"},
		"password with slash":     {raw: "redis://:se/cret@h:1", err: "percent-encoded"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := RedisURL(c.raw, func(key string) string {
				assert.Equal(t, "BATCHAGENT_REDIS_PASSWORD", key)
				return c.password
			})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "cret")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestRedact(t *testing.T) {
	assert.Equal(t, "redis://h:1/2", Redact("redis://me:secret@h:1/2"))
	assert.NotContains(t, Redact("redis://:se/cret@h:1"), "cret")
}
