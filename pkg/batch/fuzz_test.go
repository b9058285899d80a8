package batch

import "testing"

func FuzzParseID(f *testing.F) {
	f.Add("b_01k5x8zq3v6t9w2y4a7c1d0efg")
	f.Add("b_01k5x8zq3v6t9w2y4a7c1d0efg.reduce")
	f.Add("job-7")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && (string(id) != s || len(s) > 40 || id.Whole().ForStage(id.Stage()) != id || id.Whole().Stage() != StageJobs) {
			t.Fatalf("%q is stage %s of %q", s, id.Stage(), id.Whole())
		}
	})
}

func FuzzParseJobID(f *testing.F) {
	f.Add("job-7")
	f.Add("job--7")
	f.Add("job-00")
	f.Add("job-9223372036854775808")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseJobID(s); err == nil && (n < 0 || JobID(n) != s) {
			t.Fatalf("%q is %d", s, n)
		}
	})
}
