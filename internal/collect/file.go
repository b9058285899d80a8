package collect

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// File is a results file. It is the only record of the results that were written: after an interruption, OpenFile
// continues where it ends. A File is not safe for concurrent use. A second process is refused.
//
// It uses the memory of its outcomes.
type File struct {
	path   string
	format Format
	f      disk
	size   int64 // consists of whole records
	batch  batch.ID
	view   *view // is written by Close; nil without one

	outcomes
	doubled map[int64]bool // indexes with several records; the last one counts
	end     int64          // limit of the valid indexes
	tally   Tally

	ordered  bool  // Close sorts the records by index
	latest   int64 // the index of the last record; -1 if the file is empty
	unsorted bool  // a record has a lower index than its predecessor
}

// disk is the part of an open file that File needs.
type disk interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Stat() (os.FileInfo, error)
	Close() error
}

// OpenFile opens or creates the results file of a batch, or the record of a file in a Whole format. It cuts off a torn last
// record. If id is "", the file decides the batch. OpenFile returns an error and leaves the file unchanged if it holds
// results of another batch, another format or other data.
func OpenFile(path string, f Format, id batch.ID, jobs int64) (*File, error) {
	if whole, ok := f.(Whole); ok {
		return openView(path, whole, id, jobs)
	}
	return openFile(path, f, id, jobs)
}

func openFile(path string, f Format, id batch.ID, jobs int64) (*File, error) {
	h, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	if err := removeUnfinished(path); err != nil {
		_ = h.Close()
		return nil, err
	}
	file := &File{path: path, format: f, f: h, batch: id, doubled: map[int64]bool{}, end: math.MaxInt64, latest: -1}
	if err := file.load(jobs); err != nil {
		_ = h.Close()
		return nil, err
	}
	// The directory entry must be on disk, too, before anything relies on the file.
	if err := syncDir(filepath.Dir(path)); err != nil {
		_ = h.Close()
		return nil, fmt.Errorf("write the folder of %s to disk: %w", path, err)
	}
	return file, nil
}

// openLocked opens or creates a regular file and locks it against other processes. The lock ends with the process, even
// if that is killed. On a file system without locks, the file is opened without one.
func openLocked(path string) (lockedFile, error) {
	for {
		h, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return lockedFile{}, fault.Usagef("--out: %w", err)
		}
		own, err := h.Stat()
		if err != nil || !own.Mode().IsRegular() {
			_ = h.Close()
			return lockedFile{}, fault.Usagef("--out: %s is not a file; without --out, results go to standard output", path)
		}
		if err := syscall.Flock(int(h.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			_ = h.Close()
			return lockedFile{}, fault.Usagef("--out: another command writes to %s now; wait until it has ended, or name another file", path)
		}
		// The previous holder of the lock may have replaced the file at this path.
		if now, err := os.Stat(path); err == nil && os.SameFile(own, now) {
			return lockedFile{h}, nil
		}
		_ = h.Close()
	}
}

// lockedFile is a file with an exclusive lock.
type lockedFile struct{ *os.File }

// Close releases the lock before it closes the file. A child process that starts at this moment has a copy of the
// descriptor until it calls exec. The copy would keep the lock.
func (f lockedFile) Close() error {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // fails where the file system has no locks
	return f.File.Close()
}

// Batch returns the batch of the file's results; "" if the file is empty.
func (f *File) Batch() batch.ID { return f.batch }

// Settled returns the indexes that need not run again: jobs with an output, and jobs that failed permanently.
func (f *File) Settled() Bitmap {
	settled := slices.Clone(f.present)
	for i, old := range f.failed {
		if old.retryable {
			settled.clear(i)
		}
	}
	return settled
}

// Record returns the name of the file that holds the complete results.
func (f *File) Record() string { return f.path }

// Count returns the number of jobs with a result in the file.
func (f *File) Count() int64 { return f.present.Count() }

// Tally returns the sums over the results in the file.
func (f *File) Tally() *Tally { return &f.tally }

// Write appends results and returns when they are on disk. lines are their JSON. A new result of a job replaces the
// earlier one when [File.Close] runs.
func (f *File) Write(results []batch.Result, lines [][]byte) error {
	var buf []byte
	if f.size == 0 {
		buf = append(buf, f.format.header()...)
	}
	for i, r := range results {
		record, err := f.format.record(r, lines[i])
		if err != nil {
			return err
		}
		buf = append(buf, record...)
	}
	if _, err := f.f.WriteAt(buf, f.size); err != nil {
		_ = f.f.Truncate(f.size) // if this fails, the next OpenFile cuts the torn record
		return f.unwritten(err)
	}
	if err := f.f.Sync(); err != nil {
		_ = f.f.Truncate(f.size)
		return f.unwritten(err)
	}
	f.size += int64(len(buf))
	for _, r := range results {
		f.note(r)
	}
	return nil
}

// unwritten returns the error for a failed write, for example on a full disk, with its consequence and the next step.
func (f *File) unwritten(err error) error {
	return fmt.Errorf("write results to %s: %w; it holds %s and is complete; fix the problem, and the same command resumes from there "+
		"(`run` with --resume)",
		f.path, err, human.Plural(f.Count(), "result", "results"))
}

// EndAt sets the number of jobs to n. The file's results of later indexes belong to a plan that Redis lost;
// [File.Close] drops them.
func (f *File) EndAt(n int64) {
	for i := n; i < f.present.size(); i++ {
		if !f.present.Has(i) {
			continue
		}
		f.end = n
		f.replace(i)
		f.present.clear(i)
		f.subjects.set(i, 0)
	}
}

// Order makes Close sort the records by index.
func (f *File) Order() { f.ordered = true }

// Close closes the file. It first rewrites the file if it must drop superseded records or sort the records.
func (f *File) Close() error {
	var err error
	if len(f.doubled) > 0 || f.end < math.MaxInt64 || f.ordered && f.unsorted {
		err = f.keepLastRecords()
	}
	return errors.Join(err, f.writeView(), f.f.Close())
}

// load reads the file and cuts off a torn record.
func (f *File) load(jobs int64) error {
	whole, err := f.format.Scan(io.NewSectionReader(f.f, 0, math.MaxInt64), func(r batch.Result, _, _ int64) error {
		if f.batch == "" {
			f.batch = r.Batch
		}
		if r.Batch != f.batch {
			return fmt.Errorf("it holds results of batch %s, not of %s; name another file", r.Batch, f.batch)
		}
		if r.Index >= jobs {
			return fmt.Errorf("it holds %s, but the batch has only %s; name another file", r.JobID, human.Plural(jobs, "job", "jobs"))
		}
		f.note(r)
		return nil
	})
	if err != nil {
		return fault.Usagef("%s: %w", f.path, err)
	}
	f.size = whole
	if err := f.f.Truncate(whole); err != nil {
		return fmt.Errorf("cut the torn end of %s: %w", f.path, err)
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("write %s to disk: %w", f.path, err)
	}
	return nil
}

func (f *File) note(r batch.Result) {
	if f.present.Has(r.Index) {
		f.doubled[r.Index] = true
		f.replace(r.Index)
	}
	f.unsorted = f.unsorted || r.Index < f.latest
	f.latest = r.Index
	f.outcomes.note(r)
	f.tally.Add(r)
}

// replace removes a job's earlier result from the tally.
func (f *File) replace(index int64) {
	old, failed := f.failed[index]
	if !failed {
		old.status = batch.OK
	}
	f.tally.replaced(index, old.status, old.kind)
	delete(f.failed, index)
}

// keepLastRecords keeps each job's last record, at the position of its first one.
func (f *File) keepLastRecords() error {
	return f.rewrite(func(index int64) int64 {
		if index >= f.end {
			return -1
		}
		return index
	})
}

// Rewritten rewrites the file and opens it again. It closes f unless it returns an error.
func (f *File) Rewritten(jobs int64, to func(index int64) int64) (*File, error) {
	if err := f.rewrite(to); err != nil {
		return nil, err
	}
	file, err := openFile(f.path, f.format, f.batch, jobs)
	if err != nil {
		return nil, err
	}
	file.view = f.view
	_ = f.f.Close()
	return file, nil
}

// rewrite replaces the file atomically: after a crash it is the old one or the new one. to returns the new index of a
// job's record, or -1 to drop it. rewrite uses about 30 bytes of memory per record.
func (f *File) rewrite(to func(index int64) int64) error {
	records, err := f.lastRecords()
	if err != nil {
		return err
	}
	for i, r := range records {
		records[i].index = to(r.result)
	}
	records = slices.DeleteFunc(records, func(r extent) bool { return r.index < 0 })
	if f.ordered {
		slices.SortFunc(records, func(a, b extent) int { return cmp.Compare(a.index, b.index) })
	}
	info, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", f.path, err)
	}
	err = ReplaceFile(f.path, info.Mode(), func(file io.Writer) error {
		w := bufio.NewWriterSize(file, 256<<10)
		if len(records) > 0 {
			_, _ = w.Write(f.format.header())
		}
		for _, r := range records {
			raw := make([]byte, r.size)
			if _, err := f.f.ReadAt(raw, r.from); err != nil {
				return err
			}
			if r.index != r.result {
				if raw, err = f.format.renumber(batch.Result{Batch: f.batch, Index: r.result, JobID: batch.JobID(r.result)}, raw, r.index); err != nil {
					return err
				}
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
		}
		return w.Flush()
	})
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", f.path, err)
	}
	return nil
}

// extent is the position of a record.
type extent struct {
	result int64 // the index in the record
	index  int64 // its new index
	from   int64
	size   int32
}

// lastRecords returns the last record of each job, at the position of its first one.
func (f *File) lastRecords() ([]extent, error) {
	records := make([]extent, 0, f.present.Count())
	first := make(map[int64]int, len(f.doubled)) // positions in records
	err := f.Each(func(r batch.Result, from, to int64) error {
		if to-from > math.MaxInt32 {
			return fmt.Errorf("the record of %s has %s bytes", r.JobID, human.Count(to-from))
		}
		at := extent{result: r.Index, from: from, size: int32(to - from)}
		if i, again := first[r.Index]; again {
			records[i] = at
			return nil
		}
		if f.doubled[r.Index] {
			first[r.Index] = len(records)
		}
		records = append(records, at)
		return nil
	})
	return records, err
}

func (f *File) Each(fn func(r batch.Result, from, to int64) error) error {
	_, err := f.format.Scan(io.NewSectionReader(f.f, 0, f.size), fn)
	return err
}

// At reads the result whose record begins at a position.
func (f *File) At(from int64) (r batch.Result, err error) {
	if err := json.NewDecoder(io.NewSectionReader(f.f, from, f.size-from)).Decode(&r); err != nil {
		return r, fmt.Errorf("read %s again: %w", f.path, err)
	}
	return r, nil
}

// ReplaceFile replaces a file atomically: readers see the old content or all of the new content. Once it returns, the
// new content is on disk.
func ReplaceFile(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	name := unfinished(path)
	if err := removeUnfinished(path); err != nil {
		return err
	}
	tmp, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return err
	}
	if err = errors.Join(tmp.Chmod(mode.Perm()), fill(tmp)); err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		_ = os.Remove(name)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// unfinished returns the name of the temporary file that replaceFile writes. The lock of the file protects it.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".rewrite")
}

// removeUnfinished removes the temporary file of a rewrite that was killed. The caller holds the lock of the file.
func removeUnfinished(path string) error {
	if err := os.Remove(unfinished(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the temporary file of an interrupted rewrite of %s: %w", path, err)
	}
	return nil
}

// syncDir makes a rename survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
