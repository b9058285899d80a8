package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/batchagent/batchagent/pkg/batch"
)

// TestVerdict checks that lost, duplicate and torn results are found, and wrong numbers of turns.
func TestVerdict(t *testing.T) {
	line := func(index, turns int) string {
		return fmt.Sprintf(`{"batch":"b_01k5x8zq3v6t9w2y4a7c1d0efg","job_id":"job-%d","index":%[1]d,"status":"ok","output":{},"turns":%d}`+"\n", index, turns)
	}
	for name, c := range map[string]struct {
		text                       string
		lost, doubled, torn, turns int
	}{
		"good":            {line(0, 2) + line(1, 2) + line(2, 2), 0, 0, 0, 0},
		"lost":            {line(0, 2) + line(2, 2), 1, 0, 0, 0},
		"doubled":         {line(0, 2) + line(1, 2) + line(1, 2) + line(2, 2), 0, 1, 0, 0},
		"torn":            {line(0, 2) + line(1, 2) + line(2, 2)[:40], 1, 0, 1, 0},
		"another's":       {line(0, 2) + line(1, 2) + line(2, 2) + line(3, 2), 0, 0, 1, 0},
		"a turn too many": {line(0, 2) + line(1, 3) + line(2, 2), 0, 0, 0, 1},
	} {
		path := filepath.Join(t.TempDir(), "results")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		v := verdict{byType: map[batch.ErrorType]int{}, messages: map[batch.ErrorType]string{}}
		if err := v.inFile(path, 3, 2); err != nil {
			t.Fatal(err)
		}
		if v.lostInFile != c.lost || v.doubledInFile != c.doubled || v.torn != c.torn || v.wrongTurns != c.turns {
			t.Errorf("%s: %+v", name, v)
		}
		if v.good() != (name == "good") {
			t.Errorf("%s: good is %v", name, v.good())
		}
	}
}

// TestAnswers checks which answers count. A repeated answer counts, however it is split into pieces. A truncated answer and the
// job's next turn do not count as repetitions.
func TestAnswers(t *testing.T) {
	a := answers{whole: map[turn]int{}}
	answered := func(request, answer string) {
		what, ok := turnOf([]byte(request))
		if !ok {
			t.Fatalf("no turn in %s", request)
		}
		b := &watchedBody{ReadCloser: io.NopCloser(iotest.OneByteReader(strings.NewReader(answer))), ended: func() { a.ended(what) }}
		if _, err := io.Copy(io.Discard, b); err != nil {
			t.Fatal(err)
		}
	}
	first := `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"Job 1."}]}`
	second := `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"Job 1."},{"role":"assistant"},{"role":"tool","content":"x"}]}`
	const whole, cut = "data: {}\n\ndata: [DONE]\n\n", "data: {}\n\ndata: [DO"
	answered(first, whole)
	answered(first, cut)
	answered(second, whole)
	if n, most := a.twice(); n != 0 || most != 0 {
		t.Fatalf("twice: %d, %d", n, most)
	}
	answered(first, whole)
	answered(strings.ReplaceAll(first, "Job 1", "Job 2"), whole)
	answered(strings.ReplaceAll(first, "Job 1", "Job 2"), whole)
	answered(second, whole)
	if n, most := a.twice(); n != 3 || most != 2 {
		t.Fatalf("twice: %d, %d", n, most)
	}
}
