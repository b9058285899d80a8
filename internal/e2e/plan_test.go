package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

const plannedItems = 60

const pumps = `name: pumps
plan:
  task: List the pumps.
  output_schema:
    type: object
    properties: {items: {type: array, minItems: 60, maxItems: 60, items: {type: string, maxLength: 20}}}
    required: [items]
    additionalProperties: false
task: "Look at {item}."
output_schema: {type: object, properties: {state: {type: string}}, required: [state]}
reduce:
  task: "Sum up {n} pumps: {results}"
  output_schema: {type: object, properties: {all: {type: string}}, required: [all]}
`

// TestPlanSurvivesKilledWorkers kills the only worker with -9 in the planner, in the map and in the reducer. No coordinator runs.
// The next worker continues each time: there is one plan, every item has one result, and the reducer has read all of them.
func TestPlanSurvivesKilledWorkers(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	specFile := filepath.Join(dir, "batch.yaml")
	require.NoError(t, os.WriteFile(specFile, []byte(pumps), 0o600))
	sim := bin.simulator(t, "--forward-ms", "1")
	looks := 0
	rec := &recorder{stuck: func(worker, prompt string) bool {
		switch worker {
		case "node-2":
			if strings.HasPrefix(prompt, "Look at") {
				looks++
			}
			return looks > plannedItems/4
		case "node-4":
			return false
		}
		return worker == "node-1" || strings.HasPrefix(prompt, "Sum up")
	}}
	node := func(name string) *processkit.Process {
		return bin.start(t, "worker", "--redis", redis.URL(), "--backend", recorded(t, sim, name, rec), "--id", name, "--lease", "1s",
			"--max-inflight", "4", "--max-agents", "8")
	}
	until := func(what string, ok func() bool) { require.Eventually(t, ok, time.Minute, 10*time.Millisecond, what) }
	begun := func(worker, prompt string) func() bool {
		return func() bool { return rec.asked(worker, prompt) > 0 }
	}
	id := submitted(t, bin, redis.URL(), specFile)

	first := node("node-1")
	until("the planner begins", begun("node-1", "List the pumps."))
	require.NoError(t, first.Signal(syscall.SIGKILL))
	<-first.Ended()
	require.Equal(t, batch.Open, info(t, bin, redis.URL(), id).Phase)

	second := node("node-2")
	until("the map is running", func() bool { return rec.asked("node-2", "Look at") > plannedItems/4 })
	require.NoError(t, second.Signal(syscall.SIGKILL))
	<-second.Ended()
	half := info(t, bin, redis.URL(), id)
	require.EqualValues(t, plannedItems, half.Counts.Total)
	require.Less(t, half.Counts.Finished(), int64(plannedItems), "the kill came too late")

	third := node("node-3")
	until("the reducer begins", begun("node-3", "Sum up"))
	require.NoError(t, third.Signal(syscall.SIGKILL))
	<-third.Ended()
	require.Equal(t, batch.Done, info(t, bin, redis.URL(), id).Phase)
	require.Equal(t, batch.Sealed, info(t, bin, redis.URL(), string(batch.ID(id).ForStage(batch.StageReduce))).Phase)

	node("node-4")
	out := filepath.Join(dir, "results.jsonl")
	stages, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	plan, summary, _ := strings.Cut(strings.TrimSpace(stages), "\n")
	var planned, reduced batch.Result
	require.NoError(t, json.Unmarshal([]byte(plan), &planned))
	require.NoError(t, json.Unmarshal([]byte(summary), &reduced))
	assert.Equal(t, "node-2", planned.Worker)
	assert.Equal(t, 2, planned.Attempts)
	assert.Equal(t, "node-4", reduced.Worker)
	assert.Contains(t, string(reduced.Output), "Sum up 60 pumps")
	assert.Equal(t, map[string]int{"node-1": 1, "node-2": 1}, rec.askers("List the pumps."), "the plan is made once")
	assert.Equal(t, map[string]int{"node-3": 1, "node-4": 1}, rec.askers("Sum up"))

	var items struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal(planned.Output, &items))
	require.Len(t, items.Items, plannedItems)
	for i, r := range once(t, out, plannedItems) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
		assert.JSONEq(t, string(items.Items[r.Index]), string(r.Item), "job %d", i)
	}
}

// TestResumeKeepsThePlan kills `run` with -9 in the middle of the map, then continues it with --resume. The plan is not made
// again, results in the file stay, and the reducer reads all results.
func TestResumeKeepsThePlan(t *testing.T) {
	bin := built(t)
	dir := t.TempDir()
	specFile, out := filepath.Join(dir, "batch.yaml"), filepath.Join(dir, "results.jsonl")
	require.NoError(t, os.WriteFile(specFile, []byte(pumps), 0o600))
	sim := bin.simulator(t, "--forward-ms", "1")
	looks := 0
	rec := &recorder{stuck: func(worker, prompt string) bool {
		if strings.HasPrefix(prompt, "Look at") {
			looks++
		}
		return worker == "first" && looks > plannedItems/2
	}}
	run := func(name string) []string {
		return []string{"run", specFile, "--backend", recorded(t, sim, name, rec), "--out", out, "--resume", "--max-inflight", "4"}
	}
	first := bin.start(t, "coordinator", run("first")...)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(out)
		return err == nil && strings.Count(string(text), "\n") > plannedItems/4
	}, time.Minute, 10*time.Millisecond, "some results are written")
	require.NoError(t, first.Signal(syscall.SIGKILL))
	<-first.Ended()
	before, err := os.ReadFile(out)
	require.NoError(t, err)
	before = before[:strings.LastIndexByte(string(before), '\n')+1]

	stages, errs, code := bin.run(t, "coordinator", run("second")...)
	require.Equal(t, 0, code, errs)
	assert.Equal(t, map[string]int{"first": 1}, rec.askers("List the pumps."))
	after, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(after), string(before)), "earlier results stay")
	once(t, out, plannedItems)
	assert.Contains(t, stages, "Sum up 60 pumps")
}
