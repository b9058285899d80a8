package collect

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// places holds the position of the last record of each job in a temporary file, by index. So records are sorted in memory that does not grow with
// their number.
type places struct {
	f       *os.File // has no name, so that it ends with the process
	pending []byte   // entries that are not in f yet
	first   int64    // the index of the first one
}

// placeBytes is the size of an entry: the position, and the size of the record. The size is 0 for a missing record.
const placeBytes = 12

// maxPending limits the bytes of pending.
const maxPending = 4096 * placeBytes

// newPlaces makes the file in a folder.
func newPlaces(folder string) (*places, error) {
	f, err := os.CreateTemp(folder, ".batchagent-places-*")
	if err != nil {
		return nil, fmt.Errorf("sort the results: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("sort the results: %w", err), f.Close())
	}
	return &places{f: f}, nil
}

// set sets the place of a job's record. It replaces an earlier one.
func (p *places) set(index, from, to int64) error {
	if to-from > math.MaxInt32 {
		return fmt.Errorf("the record of %s has %s bytes", batch.JobID(index), human.Count(to-from))
	}
	if index != p.first+int64(len(p.pending)/placeBytes) || len(p.pending) >= maxPending {
		if err := p.flush(); err != nil {
			return err
		}
		p.first = index
	}
	p.pending = binary.LittleEndian.AppendUint64(p.pending, uint64(from))
	p.pending = binary.LittleEndian.AppendUint32(p.pending, uint32(to-from))
	return nil
}

func (p *places) flush() error {
	if _, err := p.f.WriteAt(p.pending, p.first*placeBytes); err != nil {
		return fmt.Errorf("sort the results: %w", err)
	}
	p.pending = p.pending[:0]
	return nil
}

// each calls fn with the place of every record, in the order of the indexes.
func (p *places) each(fn func(index, from int64, size int) error) error {
	if err := p.flush(); err != nil {
		return err
	}
	info, err := p.f.Stat()
	if err != nil {
		return fmt.Errorf("sort the results: %w", err)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(p.f, 0, info.Size()), maxPending)
	var entry [placeBytes]byte
	for index := int64(0); ; index++ {
		switch _, err := io.ReadFull(in, entry[:]); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("sort the results: %w", err)
		}
		from, size := binary.LittleEndian.Uint64(entry[:]), binary.LittleEndian.Uint32(entry[8:])
		if size == 0 {
			continue
		}
		if err := fn(index, int64(from), int(size)); err != nil {
			return err
		}
	}
}

func (p *places) close() error { return p.f.Close() }
