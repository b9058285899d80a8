package figures

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// machine describes the machine of the measurement. It omits values that it cannot read.
func machine() []string {
	lines := []string{"go: " + runtime.Version()}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if model, ok := strings.CutPrefix(s.Text(), "model name"); ok {
				lines = append(lines, "cpu: "+strings.TrimLeft(model, "\t :"))
				break
			}
		}
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		lines = append(lines, "commit: "+strings.TrimSpace(string(out)))
	}
	return lines
}
