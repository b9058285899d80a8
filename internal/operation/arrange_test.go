package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// documentText returns a document that shares no beginning with another one.
func documentText(d int) string {
	r := rand.New(rand.NewPCG(uint64(d), 1))
	var b strings.Builder
	for range 400 {
		fmt.Fprintf(&b, "w%d ", r.IntN(100_000))
	}
	return b.String()
}

// shuffledQuestions writes a spec that asks questions about documents, in a random order. It returns the path, and the document and
// question of each input.
func shuffledQuestions(t *testing.T, documents, questions int, more string) (path string, rows [][2]int) {
	t.Helper()
	for d := range documents {
		for q := range questions {
			rows = append(rows, [2]int{d, q})
		}
	}
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	var lines bytes.Buffer
	for _, row := range rows {
		line, err := json.Marshal(map[string]any{"document": documentText(row[0]), "question": fmt.Sprint("question ", row[1])})
		require.NoError(t, err)
		lines.Write(append(line, '\n'))
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.jsonl"), lines.Bytes(), 0o600))
	path = filepath.Join(dir, "s.yaml")
	text := "task: \"Read this. {document}\\n{question}\"\ninputs: rows.jsonl\nname: s\n" + more
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path, rows
}

// fedJobs claims all jobs of a batch, and checks that each input is there once, under its own index.
func fedJobs(t *testing.T, s *statestore.Store, id batch.ID, rows [][2]int) (order []int64) {
	t.Helper()
	seen := map[int64]bool{}
	for {
		_, jobs, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: statestore.MaxClaim, Lease: time.Hour})
		require.NoError(t, err)
		if len(jobs) == 0 {
			break
		}
		for _, job := range jobs {
			index := job.Lease.Job.Index
			require.False(t, seen[index], "job %d is there twice", index)
			seen[index] = true
			order = append(order, index)
			var payload spec.Payload
			require.NoError(t, json.Unmarshal(job.Payload, &payload))
			require.Equal(t, documentText(rows[index][0]), payload.Input["document"], "job %d has the input of another one", index)
			if question, ok := payload.Input["question"]; ok { // else it is the same in all inputs
				require.Equal(t, fmt.Sprint("question ", rows[index][1]), question)
			}
		}
	}
	require.Len(t, order, len(rows))
	return order
}

// changes counts how often the document differs from that of the job before.
func changes(order []int64, rows [][2]int) int {
	n := 0
	for at, index := range order {
		if at > 0 && rows[index][0] != rows[order[at-1]][0] {
			n++
		}
	}
	return n
}

func submitted(t *testing.T, ctx context.Context, path string, s *statestore.Store) (*Submission, error) {
	t.Helper()
	sub, err := Prepare(t.Context(), SubmitOptions{Spec: path, Stdin: strings.NewReader("")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Close() })
	return sub, sub.Submit(ctx, s)
}

func openMini(t *testing.T, o statestore.Options) *statestore.Store {
	t.Helper()
	url, _ := testredis.Mini(t)
	s, err := statestore.Open(t.Context(), url, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSubmitFeedsSharedPrefixesTogether(t *testing.T) {
	t.Parallel()
	const documents, questions = 30, 8
	for more, grouped := range map[string]bool{"": true, "order: prefix\n": true, "order: input\n": false} {
		path, rows := shuffledQuestions(t, documents, questions, more)
		s := openMini(t, statestore.Options{})
		sub, err := submitted(t, t.Context(), path, s)
		require.NoError(t, err)
		order := fedJobs(t, s, sub.ID, rows)
		h, err := s.Header(t.Context(), sub.ID)
		require.NoError(t, err)
		assert.Equal(t, grouped, h.Sorted)
		if grouped {
			assert.Equal(t, documents-1, changes(order, rows), "each document is in one piece")
			assert.EqualValues(t, 0, order[0], "the first input comes first")
			continue
		}
		for at, index := range order {
			require.EqualValues(t, at, index)
		}
	}
}

func TestSubmitFeedsTwinsTogether(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for row := range 120 {
		fmt.Fprintf(&lines, `{"q":"question %d"}`+"\n", row%40%37)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.jsonl"), []byte(lines.String()), 0o600))
	path := filepath.Join(dir, "s.yaml")
	require.NoError(t, os.WriteFile(path, []byte("task: \"{q}\"\ninputs: rows.jsonl\nidentical: once\n"), 0o600))
	s := openMini(t, statestore.Options{})
	sub, err := submitted(t, t.Context(), path, s)
	require.NoError(t, err)
	changes, before := 0, ""
	for {
		_, claimed, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: sub.ID, Consumer: "a", Count: statestore.MaxClaim, Lease: time.Hour})
		require.NoError(t, err)
		if len(claimed) == 0 {
			break
		}
		for _, c := range claimed {
			if string(c.Payload) != before {
				changes++
			}
			before = string(c.Payload)
		}
	}
	assert.Equal(t, 37, changes, "each prompt is in one piece, although it is short")
}

func TestSubmitFeedsEqualPreloadsTogether(t *testing.T) {
	t.Parallel()
	const documents, questions = 30, 8
	var lines strings.Builder
	for row := range documents * questions {
		fmt.Fprintf(&lines, `{"path":"document-%d.md","question":"question %d"}`+"\n", row%documents, row/documents)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.jsonl"), []byte(lines.String()), 0o600))
	path := filepath.Join(dir, "s.yaml")
	text := "task: \"{question}\"\ninputs: rows.jsonl\npreload: [{tool: read_file, args: {path: \"{path}\"}}]\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	s := openMini(t, statestore.Options{})
	sub, err := submitted(t, t.Context(), path, s)
	require.NoError(t, err)
	h, err := s.Header(t.Context(), sub.ID)
	require.NoError(t, err)
	assert.True(t, h.Sorted)
	assert.Equal(t, []string{"read_file"}, h.Tools, "the header names the tools that a worker needs")

	// A claim of one job parks the rest of its group for the worker.
	_, first, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: sub.ID, Consumer: "a", Count: 1, Lease: time.Hour})
	require.NoError(t, err)
	require.Len(t, first, 1)
	_, others, err := s.Claim(t.Context(), statestore.ClaimParams{Batch: sub.ID, Consumer: "b", Count: 1, Lease: time.Hour})
	require.NoError(t, err)
	require.Len(t, others, 1)
	assert.EqualValues(t, 0, first[0].Lease.Job.Index)
	assert.EqualValues(t, 1, others[0].Lease.Job.Index, "another worker gets another document")
}

// TestSubmitLeavesOtherInputsAlone: what shares no prefix has the order, the fingerprint and the header that it had before.
func TestSubmitLeavesOtherInputsAlone(t *testing.T) {
	t.Parallel()
	path, rows := shuffledQuestions(t, 200, 1, "")
	s := openMini(t, statestore.Options{})
	sub, err := submitted(t, t.Context(), path, s)
	require.NoError(t, err)
	assert.Nil(t, sub.sorted)
	plain, err := sub.load.fingerprint()
	require.NoError(t, err)
	sum, err := sub.fingerprint()
	require.NoError(t, err)
	assert.Equal(t, plain, sum)
	for at, index := range fedJobs(t, s, sub.ID, rows) {
		require.EqualValues(t, at, index)
	}
}

// TestSubmitContinuesASortedBatch kills the feeder after each of its chunks.
func TestSubmitContinuesASortedBatch(t *testing.T) {
	t.Parallel()
	path, rows := shuffledQuestions(t, 150, 8, "")
	for _, feeds := range []int64{1, 2, 3} {
		t.Run(fmt.Sprint(feeds), func(t *testing.T) {
			t.Parallel()
			url, _ := testredis.Mini(t)
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			var sent atomic.Int64
			var d net.Dialer
			first, err := statestore.Open(t.Context(), url, statestore.Options{Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := d.DialContext(ctx, network, address)
				return overheard{conn, func(b []byte) {
					// The feeder rings after each chunk.
					if bytes.Contains(b, []byte("ba:events")) && sent.Add(1) == feeds {
						kill()
					}
				}}, err
			}})
			require.NoError(t, err)
			defer first.Close()
			sub, err := submitted(t, ctx, path, first)
			require.ErrorIs(t, err, context.Canceled)

			s, err := statestore.Open(t.Context(), url, statestore.Options{})
			require.NoError(t, err)
			defer s.Close()
			info, err := s.Info(t.Context(), sub.ID)
			require.NoError(t, err)
			require.Positive(t, info.Counts.Fed)
			require.Less(t, info.Counts.Fed, int64(len(rows)))
			again, err := submitted(t, t.Context(), path, s)
			require.NoError(t, err)
			require.Equal(t, sub.ID, again.ID)
			assert.Equal(t, 149, changes(fedJobs(t, s, again.ID, rows), rows))
		})
	}
}

// TestSortedAndUnsortedSubmissionsDoNotMix: a feeder with another order would lose jobs of a batch that it continues.
func TestSortedAndUnsortedSubmissionsDoNotMix(t *testing.T) {
	t.Parallel()
	path, _ := shuffledQuestions(t, 20, 8, "")
	s := openMini(t, statestore.Options{})
	sub, err := submitted(t, t.Context(), path, s)
	require.NoError(t, err)
	plain, err := sub.load.fingerprint()
	require.NoError(t, err)
	fresh := statestore.NewID(time.Now())
	id, err := s.Submission(t.Context(), plain, fresh)
	require.NoError(t, err)
	assert.Equal(t, fresh, id, "an earlier version makes a batch of its own")
	own, err := sub.fingerprint()
	require.NoError(t, err)
	id, err = s.Submission(t.Context(), own, fresh)
	require.NoError(t, err)
	assert.Equal(t, sub.ID, id)
}

func TestReceivedPlansAreSorted(t *testing.T) {
	t.Parallel()
	for more, grouped := range map[string]bool{"": true, "order: input\n": false} {
		path, rows := shuffledQuestions(t, 30, 8, more)
		var wire bytes.Buffer
		local, err := Prepare(t.Context(), SubmitOptions{Spec: path, Stdin: strings.NewReader("")})
		require.NoError(t, err)
		defer local.Close()
		require.NoError(t, local.Send(t.Context(), &wire))
		head, jobs, _ := strings.Cut(wire.String(), "\n")
		var first struct{ Plan json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(head), &first))

		s := openMini(t, statestore.Options{})
		var id batch.ID
		for n := range 2 {
			sub, err := Receive(t.Context(), Sent{Plan: first.Plan, Inputs: strings.NewReader(jobs)}, nil, nil)
			require.NoError(t, err)
			before, err := sub.SubmitOnce(t.Context(), s, "key")
			require.NoError(t, err)
			assert.Equal(t, n == 1, before)
			if n == 0 {
				id = sub.ID
			}
			assert.Equal(t, id, sub.ID)
			require.NoError(t, sub.Close())
		}
		order := fedJobs(t, s, id, rows)
		assert.Equal(t, grouped, changes(order, rows) == 29)
	}
}
