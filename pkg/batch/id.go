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

// ParseID checks the form of a batch ID that a person typed.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a batch ID: one looks like b_01k5x8zq3v6t9w2y4a7c1d0efg; the list of batches has them", s)
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
