package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUnitsAreHardened runs systemd-analyze on the units without starting them. 20 is an exposure of 2.0 of 10.
func TestUnitsAreHardened(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		const missing = "no systemd-analyze is installed (Debian, Ubuntu: apt-get install systemd)"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	units, err := filepath.Glob("systemd/*.service")
	require.NoError(t, err)
	require.Len(t, units, 3)
	for _, unit := range units {
		path, err := filepath.Abs(unit)
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
		assert.NoError(t, err, "%s\n%s", unit, out)
		assert.NotContains(t, string(out), "ignoring", "%s has a line that systemd ignores", unit)
	}
}
