package deploy_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUsersSh checks that passwords stay the same between runs, that a given password replaces one, and that the file for Redis has
// only hashes.
func TestUsersSh(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "users")
	run := func(env ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "redis/users.sh", dir)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return read(t, filepath.Join(dir, "users.acl"))
	}
	first := run()
	seen := map[string]bool{}
	for _, user := range []string{"worker", "coordinator", "viewer", "monitor"} {
		password := read(t, filepath.Join(dir, user))
		assert.Regexp(t, `^[0-9a-f]{48}$`, password)
		assert.False(t, seen[password], "%s has the password of another user", user)
		seen[password] = true
		assert.Contains(t, first, fmt.Sprintf("user %s on #%x resetkeys", user, sha256.Sum256([]byte(password))))
		assert.NotContains(t, first, password)
	}
	assert.NotContains(t, first, "PASSWORD")
	assert.Contains(t, first, "user default off resetpass ~* &* +@all\n")
	assert.NotRegexp(t, `(?i)nopass|config|@admin|\+@`, strings.Replace(first, "+@all", "", 1))
	assert.Equal(t, first, run(), "passwords changed")
	const given = `p'a"s $(exit 1) \ #w>rd*`
	assert.Contains(t, run("REDIS_WORKER_PASSWORD="+given), fmt.Sprintf("user worker on #%x resetkeys", sha256.Sum256([]byte(given))))
	assert.Equal(t, given, read(t, filepath.Join(dir, "worker")))
	for _, name := range []string{"worker", "users.acl"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, "other users can read %s", name)
	}
	out, err := exec.CommandContext(t.Context(), "redis/users.sh").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "users.sh FOLDER")
}
