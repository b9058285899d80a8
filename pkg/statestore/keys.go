package statestore

import (
	"strconv"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Every key begins with "ba:". The keys of a batch carry its ID as hash tag, so they share one slot of a Redis Cluster and one
// script can use them all.
const (
	keyBatches = "ba:batches" // zset: batch ID by time of submission, ms
	keyActive  = "ba:active"  // set: batch IDs that workers claim from
	keyWorkers = "ba:workers" // zset: consumer name by last heartbeat, ms
	keyEvents  = "ba:events"  // stream, capped: doorbell
)

// group is the consumer group of every job stream.
const group = "workers"

func keyWorker(consumer string) string { return "ba:worker:" + consumer } // string: heartbeat record, JSON

func keySubmit(fingerprint string) string { return "ba:submit:" + fingerprint } // string: batch ID

// stageNames are the names of stages in Redis. The keys of a stage have the name in their prefix, and meta of the whole batch has a
// field of that name with the prefix.
var stageNames = map[batch.Stage]string{batch.StagePlan: "planner", batch.StageReduce: "reduce"}

// keyPrefix begins all keys of a batch. A stage is in the slot of its batch.
func keyPrefix(id batch.ID) string {
	prefix := "ba:{" + string(id.Whole()) + "}:"
	if name, ok := stageNames[id.Stage()]; ok {
		prefix += name + ":"
	}
	return prefix
}

func batchKey(id batch.ID, name string) string { return keyPrefix(id) + name }

func keyMeta(id batch.ID) string     { return batchKey(id, "meta") }     // hash: header, phase, counters
func keyPlan(id batch.ID) string     { return batchKey(id, "plan") }     // string: compiled spec, JSON
func keyJobs(id batch.ID) string     { return batchKey(id, "jobs") }     // stream + group: i index, p payload
func keyLease(id batch.ID) string    { return batchKey(id, "lease") }    // hash: index -> token|attempt|holder; x<index>: no attempts left
func keyBack(id batch.ID) string     { return batchKey(id, "back") }     // list: "entry index time" of released jobs, in ms of Redis' clock
func keyAlone(id batch.ID) string    { return batchKey(id, "alone") }    // list: "entry index time" of jobs that must run alone
func keyResults(id batch.ID) string  { return batchKey(id, "results") }  // stream <seq>-0: i index, s status, r JSON
func keyFinished(id batch.ID) string { return batchKey(id, "finished") } // bitmap: index has a result
func keyFailed(id batch.ID) string   { return batchKey(id, "failed") }   // hash: index -> "seq payload"

func keyCalls(id batch.ID) string { return batchKey(id, "calls") } // hash: index -> usage and reservations, see lua/part/account.lua

func keyParked(id batch.ID) string { return batchKey(id, "parked") } // hash: worker -> range of entries, see lua/part/parked.lua

// prefixJournal + index is a list with one entry per turn.
func prefixJournal(id batch.ID) string { return batchKey(id, "journal:") }

func keyJournal(id batch.ID, index int64) string {
	return prefixJournal(id) + strconv.FormatInt(index, 10)
}

// keyEffects is a hash, the effect log of a job: t<turn> -> the turn, i<call> -> fence and intent, o<call> -> outcome,
// a<call> -> the call is parked. A call is <turn>.<number>. Scripts derive the key's name from the journal's.
func keyEffects(id batch.ID, index int64) string { return keyJournal(id, index) + ":fx" }

// allKeys lists a batch's keys. Every script of a batch declares all of them and derives their names from the first one, see
// lua/part/keys.lua.
func allKeys(id batch.ID) []string {
	return []string{
		keyMeta(id), keyPlan(id), keyJobs(id), keyLease(id), keyBack(id), keyResults(id), keyFinished(id), keyFailed(id),
		keyAlone(id), keyCalls(id), keyParked(id),
	}
}
