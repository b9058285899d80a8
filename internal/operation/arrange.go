package operation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// maxOpening is how many bytes of a prompt the sort reads.
const maxOpening = 1 << 20

// Numbered yields jobs in the order of their inputs.
func Numbered(payloads iter.Seq2[[]byte, error]) iter.Seq2[prefixorder.Job, error] {
	return func(yield func(prefixorder.Job, error) bool) {
		index := int64(0)
		for payload, err := range payloads {
			if !yield(prefixorder.Job{Index: index, Payload: payload}, err) || err != nil {
				return
			}
			index++
		}
	}
}

// SortJobs reads all jobs and sorts them by their prompts. It returns nil if the spec asks for the order of the inputs, if the
// prompts share too little and identical jobs do not run once, or if the temporary file has no space. openings are those of a random choice of the jobs.
func SortJobs(ctx context.Context, compiled *spec.Compiled, total int64, openings func() []string, jobs iter.Seq2[prefixorder.Job, error], notify notice.Func) (*prefixorder.Sorter, error) {
	once := compiled.Identical == spec.IdenticalOnce // twins must be neighbours
	if compiled.Order == spec.OrderInput || total < 2 || !once && !prefixorder.MayGain(openings(), total) {
		return nil, nil
	}
	s := prefixorder.New()
	err := fill(s, compiled, jobs)
	gains := false
	if err == nil && !once {
		gains, err = s.Gains(ctx)
	}
	if err == nil && (gains || once) {
		return s, nil
	}
	if errors.Is(err, prefixorder.ErrSpace) || errors.Is(err, prefixorder.ErrTooLarge) {
		notify.Send(notice.InputOrder, "the jobs run in the order of the inputs, not by common prefix: %v. Set TMPDIR to a folder with more space, "+
			"or set order: input in the spec", err)
		err = nil
	}
	return nil, errors.Join(err, s.Close())
}

// fill adds all jobs to a Sorter.
func fill(s *prefixorder.Sorter, compiled *spec.Compiled, jobs iter.Seq2[prefixorder.Job, error]) error {
	for job, err := range jobs {
		if err != nil {
			return err
		}
		opening, err := openingOf(compiled, job)
		if err != nil {
			return err
		}
		if err := s.Add(job.Index, opening, job.Payload); err != nil {
			return err
		}
	}
	return s.Finish()
}

// openingOf returns the opening of a job's prompt. It depends on the input alone: whether there is an earlier result to reuse may change
// before an interrupted submission is continued.
func openingOf(compiled *spec.Compiled, job prefixorder.Job) (string, error) {
	payload, err := spec.DecodePayload(job.Payload)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", batch.JobID(job.Index), err)
	}
	opening := compiled.Opening(payload.Input, maxOpening)
	if payload.Twin && len(opening) < prefixorder.MinShared {
		// The sort keeps the place of a short prompt. Equal texts in front bring short twins together.
		mark := fmt.Sprintf("%016x", xxhash.Sum64String(opening))
		opening = strings.Repeat(mark, prefixorder.MinShared/len(mark)) + opening
	}
	return opening, nil
}

// arrange decides the order of the jobs, once.
func (s *Submission) arrange(ctx context.Context) error {
	if s.arranged {
		return nil
	}
	if s.load.Planner == nil {
		sorted, err := SortJobs(ctx, s.load.Compiled, s.Total, s.load.openings, Numbered(s.load.payloads(ctx)), s.notify)
		if err != nil {
			return err
		}
		s.sorted = sorted
		if sorted == nil && s.reuse != nil {
			s.reuse.Restart() // the jobs are read again
		}
	}
	s.arranged = true
	return nil
}

// jobs yields all jobs in feed order.
func (s *Submission) jobs(ctx context.Context) iter.Seq2[prefixorder.Job, error] {
	if s.sorted != nil {
		return s.sorted.Jobs(ctx)
	}
	return Numbered(s.load.payloads(ctx))
}

// fingerprint is the same for the same jobs in the same order. Jobs that are not sorted have the fingerprint that earlier versions gave them.
func (s *Submission) fingerprint() (string, error) {
	sum, err := s.load.fingerprint()
	if err != nil || s.sorted == nil {
		return sum, err
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(sum+"\norder "+prefixorder.Version))), nil
}
