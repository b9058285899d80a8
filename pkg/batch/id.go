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

// The suffixes of the IDs of batches that are a stage of another batch.
const (
	reduceSuffix = ".reduce"
	planSuffix   = ".plan"
)

// Reducer returns the ID of the one-job batch that reduces this batch, whether or not it exists.
func (id ID) Reducer() ID { return id + reduceSuffix }

// Reduces returns the batch that this one reduces. ok is false if this batch is not a reducer.
func (id ID) Reduces() (of ID, ok bool) {
	s, ok := strings.CutSuffix(string(id), reduceSuffix)
	return ID(s), ok
}

// Planner returns the ID of the one-job batch that plans the jobs of this batch, whether or not it exists.
func (id ID) Planner() ID { return id + planSuffix }

// Plans returns the batch that this one plans. ok is false if this batch is not a planner.
func (id ID) Plans() (of ID, ok bool) {
	s, ok := strings.CutSuffix(string(id), planSuffix)
	return ID(s), ok
}

// Whole returns the batch that this one is a stage of. It returns any other batch's own ID.
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

// JobID returns the name of job index of a batch in results, logs and pages: "job-<index>".
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

// String returns "<batch>/job-<index>", the form in logs and errors.
func (j Job) String() string { return string(j.Batch) + "/" + JobID(j.Index) }
