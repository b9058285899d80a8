package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lines = `
goos: linux
BenchmarkKV/workload=d/arm=unlimited/seed=1-2	16	280.0 jobs/h	0.241 hit-rate
BenchmarkKV/workload=d/arm=fixed_12/seed=1-2	16	298.0 jobs/h	0.320 hit-rate
BenchmarkKV/workload=d/arm=fixed_3/seed=1-2	16	478.0 jobs/h	0.780 hit-rate
BenchmarkKV/workload=d/arm=ours/seed=1-2	16	512.0 jobs/h	0.790 hit-rate
BenchmarkKV/workload=d/arm=fixed_3/seed=2-2	16	460.0 jobs/h	0.780 hit-rate
BenchmarkKV/workload=d/arm=fixed_3/seed=3-2	16	470.0 jobs/h	0.780 hit-rate
BenchmarkKV/workload=d/backend=real/arm=fixed_3/round=1-2	16	405.0 jobs/h	0.702 hit-rate
BenchmarkKV/workload=d/backend=real/arm=ours/round=1-2	16	465.0 jobs/h	0.755 hit-rate
BenchmarkCluster/nodes=1/round=1-2	250	9.6 jobs/h

d: eight turns; medians of 3 seeds
       fixed 3   120.6     478
`

func TestRead(t *testing.T) {
	got, err := read(strings.NewReader(lines), "lines", nil)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d workloads, want 2; %v", len(got), err)
	}
	d := got[0]
	if d.name != "d" || len(d.sweep) != 2 || d.sweep[0].agents != 3 || d.sweep[1].agents != 12 || len(d.arms) != 2 {
		t.Errorf("workload d is %+v", d)
	}
	if s := d.sweep[0]; s.low() != 460 || s.median() != 470 || s.high() != 478 {
		t.Errorf("three agents: %v [%v-%v], want 470 [460-478]", s.median(), s.low(), s.high())
	}
	if got[1].name != "d, real server" {
		t.Errorf("the second workload is %q", got[1].name)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "kv.txt"), filepath.Join(dir, "kv.svg")
	if err := run(out, nil); err == nil || !strings.Contains(err.Error(), "give the file") {
		t.Errorf("without a file: %v", err)
	}
	for text, says := range map[string]string{
		lines:            "",
		"nothing here\n": "has no line of bench/kv",
		"BenchmarkKV/workload=x/arm=ours-2 1 5 jobs/h\n": "has no fixed number",
	} {
		if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		switch err := run(out, []string{in}); {
		case says == "" && err != nil, says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("%.20q: %v, want %q", text, err, says)
		}
	}
	drawn, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(drawn), "d, real server") || !strings.Contains(string(drawn), "unlimited") {
		t.Errorf("a panel or a level is missing in the picture: %v", err)
	}
	if strings.Contains(string(drawn), "pause-by-size") {
		t.Error("the picture has a level without a measurement")
	}
	if err := run(filepath.Join(dir, "kv.gif"), []string{in}); err == nil {
		t.Error("an unknown file type was drawn")
	}
}
