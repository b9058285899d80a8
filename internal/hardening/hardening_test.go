package hardening

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv("HARDENING_CHILD") != "" {
		lookup, err := TakeKeys([]string{"PLANTED", "ABSENT", "IN_FILE"})
		if err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		if fromFile, ok := lookup("IN_FILE"); ok {
			_, _ = os.Stdout.WriteString(fromFile)
			os.Exit(0)
		}
		planted, _ := lookup("PLANTED")
		shown, _ := os.ReadFile("/proc/self/environ")
		_, _ = os.Stdout.WriteString(planted + "|" + Getenv(lookup)("HARDENING_CHILD") + "|" + strings.Join(os.Environ(), ",") + "|" + string(shown))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTakeKeysClearsTheEnvironment(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = []string{"HARDENING_CHILD=1", "PLANTED=planted-secret", "OTHER=o"}
	out, err := cmd.Output()
	require.NoError(t, err)
	parts := strings.SplitN(string(out), "|", 4)
	assert.Equal(t, "planted-secret", parts[0])
	assert.Equal(t, "1", parts[1])
	assert.NotContains(t, parts[2], "PLANTED")
	if runtime.GOOS == "linux" {
		assert.Contains(t, parts[3], "OTHER=o")
		assert.NotContains(t, parts[3], "secret")
	}
}

func TestTakeKeysReadsFiles(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	for name, c := range map[string]struct {
		env  []string
		want string
		code int
	}{
		"as written":            {[]string{"IN_FILE_FILE=" + file("pass word")}, "pass word", 0},
		"line break at the end": {[]string{"IN_FILE_FILE=" + file("key\r\n")}, "key", 0},
		"empty variable beside": {[]string{"IN_FILE=", "IN_FILE_FILE=" + file("key")}, "key", 0},
		"both":                  {[]string{"IN_FILE=a-secret", "IN_FILE_FILE=" + file("key")}, "IN_FILE and IN_FILE_FILE are both set", 1},
		"no file":               {[]string{"IN_FILE_FILE=/nowhere/key"}, "IN_FILE_FILE: open /nowhere/key", 1},
		"empty":                 {[]string{"IN_FILE_FILE=" + file("\n")}, "has 1 bytes", 1},
		"too long":              {[]string{"IN_FILE_FILE=" + file(strings.Repeat("k", maxKey+1))}, "bytes", 1},
		"endless":               {[]string{"IN_FILE_FILE=/dev/zero"}, "bytes", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(c.env, "HARDENING_CHILD=1")
			out, err := cmd.Output()
			if c.code == 0 {
				require.NoError(t, err, "%s", out)
				assert.Equal(t, c.want, string(out))
				return
			}
			assert.Error(t, err)
			assert.Contains(t, string(out), c.want)
			assert.NotContains(t, string(out), "a-secret")
		})
	}
}

func TestCgroupMemory(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	cases := map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"version 2 in a container":  {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("536870912\n")}, 512 << 20},
		"version 2 without a limit": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")}, 0},
		"smaller limit above": {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("max"),
			"sys/fs/cgroup/a/memory.max": file("1000")}, 1000},
		"version 1":                 {fstest.MapFS{"proc/self/cgroup": file("5:cpu:/\n4:memory:/docker/x\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("1073741824")}, 1 << 30},
		"version 1 without a limit": {fstest.MapFS{"proc/self/cgroup": file("4:memory:/\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712")}, 0},
		"none":                      {fstest.MapFS{}, 0},
	}
	for name, c := range cases {
		assert.Equal(t, c.want, cgroupMemory(c.files), name)
	}
}
