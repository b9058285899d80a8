package hardening

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv("HARDENING_CHILD") != "" {
		lookup := TakeKeys([]string{"PLANTED", "ABSENT"})
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
