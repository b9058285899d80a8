package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPinImages runs pin-images.sh on copies, with a fake docker that returns invented digests.
func TestPinImages(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip("no perl is installed, which pin-images.sh needs")
	}
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	docker := "#!/bin/sh\necho \"$4\" >> " + asked + "\nprintf 'sha256:%s\\n' \"$(cat " + dir + "/digest)\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o700)) //nolint:gosec // a program
	var files []string
	for _, name := range []string{"docker-compose.yml", "compose.sglang.yml", "kubernetes.yaml", "Dockerfile"} {
		files = append(files, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(files[len(files)-1], []byte(read(t, name)), 0o600))
	}
	pin := func(digest string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "digest"), []byte(digest), 0o600))
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{"pin-images.sh"}, files...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		var all strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
		return all.String()
	}
	before := pin(strings.Repeat("a", 64))
	images := regexp.MustCompile(`(?m)^\s*(?:- )?(?:image:|FROM) (.*:.*)$`).FindAllStringSubmatch(before, -1)
	for _, m := range images {
		if !strings.HasPrefix(m[1], "batchagent/") {
			assert.Contains(t, m[1], "@sha256:"+strings.Repeat("a", 64), "%s", m[0])
		}
	}
	assert.True(t, strings.Contains(before, "image: lmsysorg/sglang:${SGLANG_VERSION:-v0.5.23@sha256:"), "a version with a variable")
	assert.False(t, strings.Contains(before, "image: *redis-image@"), "an alias already has the image of its anchor")
	after := pin(strings.Repeat("b", 64))
	assert.True(t, strings.ReplaceAll(before, strings.Repeat("a", 64), strings.Repeat("b", 64)) == after, "a second run replaces digests")
	text, err := os.ReadFile(asked)
	require.NoError(t, err)
	assert.Contains(t, string(text), "\nredis:7.2.11\n")
	assert.NotContains(t, string(text), "@")
}
