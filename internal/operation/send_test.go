package operation

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// jobsOfSubmission returns a submission's compiled spec and jobs as they are stored in Redis.
func jobsOfSubmission(t *testing.T, s *Submission) (plan string, jobs []string) {
	t.Helper()
	s.load.Compiled.Owner = "me"
	text, err := json.Marshal(s.load.Compiled)
	require.NoError(t, err)
	for job, err := range s.load.payloads(t.Context()) {
		require.NoError(t, err)
		jobs = append(jobs, string(job))
	}
	return string(text), jobs
}

// A spec makes the same compiled spec and jobs if it is submitted to Redis, sent compiled, or sent as it is.
func TestEveryEntryMakesSamePlanAndJobs(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"one input":               "task: \"{x}\"\ninputs: [{x: 1}]\n",
		"equal inputs":            "task: \"{x}\"\ninputs: [{x: 1}, {x: 1}]\n",
		"no placeholder":          "task: Write a poem\ninputs: [a, a]\n",
		"no placeholder, literal": "task: Write a poem\nliteral: true\ninputs: [a, b]\n",
		"empty input":             "task: Write a poem\ninputs: [{}]\n",
		"inputs that differ":      "task: \"{x}\"\ninputs: [{x: 1}, {x: \"<2>\"}]\n",
		"names and paths":         "task: \"{Review Text} {u.n}\"\ninputs: [{Review Text: a, u: {n: 1}}, {Review Text: b, u: {n: 2}}]\n",
		"no hoisting":             "task: \"{x}\"\nhoist: false\ninputs: [{x: 1}]\n",
		"a bad input":             "task: \"{x}\"\non_bad_input: skip\ninputs: [{x: 1}, {y: 1}, {x: 2}]\n",
		"a schema":                "task: \"{schema} {x}\"\noutput_schema: {type: object, properties: {a: {type: string}}}\ninputs: [{x: 1, schema: s}, {x: 2, schema: t}]\n",
		"digits":                  "task: \"{zip}\"\ninputs: [{zip: 02142}, {zip: 09999}]\n",
		"a plan":                  "task: \"{item}\"\nplan: {task: List them}\n",
		"a reduction":             "task: \"{x}\"\ninputs: [{x: 1}]\nreduce: {task: \"{n}: {results}\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "spec.yaml")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			redis, err := Prepare(t.Context(), SubmitOptions{Spec: path, Owner: "me"})
			require.NoError(t, err)
			defer redis.Close()
			plan, jobs := jobsOfSubmission(t, redis)

			var body bytes.Buffer
			require.NoError(t, redis.Send(t.Context(), &body))
			first, rest, _ := strings.Cut(body.String(), "\n")
			var head struct{ Plan, Planner, Reduce json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(first), &head))
			for door, sent := range map[string]Sent{
				"compiled": {Plan: head.Plan, Planner: head.Planner, Reduce: head.Reduce, Inputs: strings.NewReader(rest)},
				"as it is": {Spec: []byte(text), Name: "spec.yaml", Inputs: strings.NewReader("")},
			} {
				server, err := Receive(t.Context(), sent, nil, nil)
				require.NoError(t, err, door)
				defer server.Close()
				gotPlan, gotJobs := jobsOfSubmission(t, server)
				assert.JSONEq(t, plan, gotPlan, door)
				if strings.Contains(name, "bad") {
					require.Len(t, gotJobs, len(jobs)) // the reason names the file
					continue
				}
				assert.Equal(t, jobs, gotJobs, door)
			}
		})
	}
}

func TestSendable(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`{"in":{"x":1}}`: true, `{"in":{}}`: true, `{}`: true, ` { } `: true, `{"bad":"why"}`: true,
		`{"x":1}`: false, `{"in":[]}`: false, `[]`: false, `{"item":1}`: false, `{"in":{},"reduce":{"n":1}}`: false, `nope`: false,
	} {
		assert.Equal(t, want, sendable([]byte(line)), line)
	}
}
