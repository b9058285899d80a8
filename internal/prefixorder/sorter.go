package prefixorder

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
)

// Job is a job with the index of its input.
type Job struct {
	Index   int64
	Payload []byte
	Rest    int64 // how many of the next jobs are in its group, at most maxRest
}

// ErrTooLarge means that the jobs need more temporary disk space than the sort may use.
var ErrTooLarge = errors.New("the jobs are too large to sort")

// ErrSpace means that the temporary file could not be written.
var ErrSpace = errors.New("no space to sort the jobs")

const (
	runBytes  = 32 << 20 // of jobs that are sorted in memory at a time
	maxBytes  = 8 << 30  // of the temporary file
	jobMemory = 96       // bytes that a job takes in memory besides its key and payload
)

// Sorter sorts jobs. Add every job, then call Finish; after that Gain and Jobs may be called any number of times. It needs Close.
// It is not safe for concurrent use.
type Sorter struct {
	limits limits
	ranks  *ranking

	run   []record // of this run, not sorted yet
	size  int64    // of run in memory
	spool *os.File // nil while one run holds all jobs
	end   int64    // size of spool, in bytes
	runs  []extent
	place int64 // of the next job

	total int64 // bytes of all prompts
}

// limits bound a sort. Tests make them small.
type limits struct {
	run, disk int64
	folder    string // "" is the system's folder for temporary files
}

// record is a job as it is sorted: by key, then by place.
type record struct {
	key     []byte // the rank, then the hashes
	place   int64
	index   int64
	payload []byte
}

func (r record) compare(o record) int {
	return cmp.Or(bytes.Compare(r.key, o.key), cmp.Compare(r.place, o.place))
}

// New returns an empty Sorter.
func New() *Sorter { return newSorter(limits{run: runBytes, disk: maxBytes}) }

func newSorter(l limits) *Sorter { return &Sorter{limits: l, ranks: newRanking()} }

// Add takes the next job. prompt is what differs between the jobs: without the text that all of them begin with. The job keeps payload.
// Errors are [ErrTooLarge] and [ErrSpace].
func (s *Sorter) Add(index int64, prompt string, payload []byte) error {
	h := hashes(prompt)
	s.total += int64(len(prompt))
	key := make([]byte, rankBytes, rankBytes+len(h))
	binary.BigEndian.PutUint64(key, s.ranks.of(s.place, h))
	r := record{append(key, h...), s.place, index, payload}
	s.place++
	s.run = append(s.run, r)
	s.size += int64(len(r.key)+len(payload)) + jobMemory
	if s.size >= s.limits.run {
		return s.spill()
	}
	return nil
}

// Finish ends the jobs.
func (s *Sorter) Finish() error {
	if s.spool != nil && len(s.run) > 0 {
		return s.spill()
	}
	slices.SortFunc(s.run, record.compare)
	return nil
}

// spill sorts the run and writes it to the spool.
func (s *Sorter) spill() error {
	slices.SortFunc(s.run, record.compare)
	if s.spool == nil {
		var err error
		if s.spool, err = unnamed(s.limits.folder); err != nil {
			return err
		}
	}
	written, err := writeRun(s.spool, s.end, s.limits.disk, s.run)
	if err != nil {
		return err
	}
	s.runs, s.end = append(s.runs, written), written.end
	clear(s.run)
	s.run, s.size = s.run[:0], 0
	return nil
}

// unnamed opens a temporary file that has lost its name, so that it is gone when the process is. Where the system does not allow that,
// the file keeps its name until Close.
func unnamed(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "batchagent-order-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpace, err)
	}
	_ = os.Remove(f.Name())
	return f, nil
}

// Close frees the temporary file.
func (s *Sorter) Close() error {
	s.run = nil
	if s.spool == nil {
		return nil
	}
	err := s.spool.Close()
	if gone := os.Remove(s.spool.Name()); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	s.spool = nil
	return err
}

// Gains reports whether jobs in the sorted order share enough. Inputs that share as much in their own order are sorted too: the sort
// keeps the order of their groups, and a worker gets groups.
func (s *Sorter) Gains(ctx context.Context) (bool, error) {
	sorted := int64(0)
	var before []byte
	for r, err := range s.records(ctx, false) {
		if err != nil {
			return false, err
		}
		h := r.key[rankBytes:]
		sorted += int64(saved(before, h))
		before = append(before[:0], h...)
	}
	return s.total > 0 && float64(sorted) >= minGain*float64(s.total), nil
}

// Jobs yields all jobs in order, with their groups. An error ends it.
func (s *Sorter) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		var w window
		var before []byte
		for r, err := range s.records(ctx, true) {
			if err != nil {
				yield(Job{}, err)
				return
			}
			h := r.key[rankBytes:]
			joins := saved(before, h) > 0
			before = append(before[:0], h...)
			for job := range w.add(Job{Index: r.index, Payload: r.payload}, joins) {
				if !yield(job, nil) {
					return
				}
			}
		}
		for job := range w.flush() {
			if !yield(job, nil) {
				return
			}
		}
	}
}

// records yields all records in order, with their payloads if these are asked for. A key is valid until the next record.
func (s *Sorter) records(ctx context.Context, payloads bool) iter.Seq2[record, error] {
	if s.spool != nil {
		return merged(ctx, s.spool, s.runs, payloads)
	}
	return func(yield func(record, error) bool) {
		for _, r := range s.run {
			if ctx.Err() != nil {
				yield(record{}, context.Cause(ctx))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}
