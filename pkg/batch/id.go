package batch

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ID names a batch: "b_" and a lower-case ULID. IDs sort by the time of submission.
type ID string

var idForm = regexp.MustCompile(`^b_[0-9a-hjkmnp-tv-z]{26}(\.reduce|\.plan)?$`)

// What the IDs of batches that are a stage of another one end with.
const (
	reduceSuffix = ".reduce"
	planSuffix   = ".plan"
)

// Reducer is the ID of the batch of one job that reduces this one, if it has any.
func (id ID) Reducer() ID { return id + reduceSuffix }

// Reduces is the batch that this one reduces; ok is false if it is no reducer.
func (id ID) Reduces() (of ID, ok bool) {
	s, ok := strings.CutSuffix(string(id), reduceSuffix)
	return ID(s), ok
}

// Planner is the ID of the batch of one job whose answer gives this one its jobs, if it has any.
func (id ID) Planner() ID { return id + planSuffix }

// Plans is the batch that this one plans; ok is false if it is no planner.
func (id ID) Plans() (of ID, ok bool) {
	s, ok := strings.CutSuffix(string(id), planSuffix)
	return ID(s), ok
}

// Whole is the batch that this one is a stage of; any other batch is its own.
func (id ID) Whole() ID {
	if of, ok := id.Plans(); ok {
		return of
	}
	of, _ := id.Reduces()
	return of
}

// ParseID checks the form of a batch ID that a person typed.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a batch ID: one looks like b_01k5x8zq3v6t9w2y4a7c1d0efg; `coordinator batches` lists them", s)
	}
	return ID(s), nil
}

// JobID is the name of job index of a batch in results, logs and pages: "job-<index>".
func JobID(index int64) string { return "job-" + strconv.FormatInt(index, 10) }

// ParseJobID is the inverse of [JobID].
func ParseJobID(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "job-"), 10, 64)
	if err != nil || n < 0 || JobID(n) != s {
		return 0, fmt.Errorf("%q is not a job ID: one looks like job-3", s)
	}
	return n, nil
}

// Job identifies one input of a batch.
type Job struct {
	Batch ID
	Index int64 // 0-based position in the input list
}

// String is "<batch>/job-<index>", as logs and errors print it.
func (j Job) String() string { return string(j.Batch) + "/" + JobID(j.Index) }
