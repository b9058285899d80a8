package statestore

import (
	"context"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// maxVariadic is the limit of leases per script call: Lua's unpack fails at about 8,000 values.
const maxVariadic = 1000

// Renew extends leases of one batch and one holder by the lease duration from now, by Redis' clock. It returns the phase ("" if
// the batch is gone) and the leases that are fenced. A call without leases marks the batch as reachable, so that expired leases
// of dead workers are not mistaken for an outage. Repeatable.
func (s *Store) Renew(
	ctx context.Context, id batch.ID, consumer string, lease time.Duration, leases []batch.Lease,
) (batch.Phase, []batch.Lease, error) {
	var phase batch.Phase
	var fenced []batch.Lease
	for first := true; first || len(leases) > 0; first = false {
		part := leases[:min(len(leases), maxVariadic)]
		leases = leases[len(part):]
		v, err := s.call(ctx, "renew leases in batch "+string(id), s.scripts.renew, id, struct {
			Consumer string `json:"consumer"`
			Lease    int64  `json:"lease"`
			leaseColumns
		}{consumer, lease.Milliseconds(), columnsOf(part)})
		if err != nil {
			return "", nil, err
		}
		r := reply{v}
		phase = batch.Phase(r.at(0).str())
		for i, l := range part {
			if r.at(1+i).num() < 0 {
				fenced = append(fenced, l)
			}
		}
	}
	return phase, fenced, nil
}

// Release gives the leases of jobs of one batch back without counting an attempt. Any worker can claim the jobs at once. Leases
// that are no longer held are skipped. Repeatable.
func (s *Store) Release(ctx context.Context, id batch.ID, leases []batch.Lease) error {
	for len(leases) > 0 {
		part := leases[:min(len(leases), maxVariadic)]
		leases = leases[len(part):]
		if _, err := s.call(ctx, "release leases in batch "+string(id), s.scripts.release, id, columnsOf(part)); err != nil {
			return err
		}
	}
	return nil
}

// leaseColumns are leases in the arguments of a script, one element per lease.
type leaseColumns struct {
	Index []string `json:"index"`
	Entry []string `json:"entry"`
	Fence []string `json:"fence"`
}

func columnsOf(leases []batch.Lease) leaseColumns {
	c := leaseColumns{make([]string, len(leases)), make([]string, len(leases)), make([]string, len(leases))}
	for i, l := range leases {
		c.Index[i], c.Entry[i], c.Fence[i] = decimal(l.Job.Index), l.Entry, l.Fence()
	}
	return c
}

// decimal returns a number as scripts get it, if they store it. Redis would spend more time on formatting it.
func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func decimals(numbers []int64) []string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = decimal(n)
	}
	return out
}

// amount returns an amount of money as scripts get it.
func amount(usd float64) string { return strconv.FormatFloat(usd, 'f', -1, 64) }
