package scheduler

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Marks are the hashes of the consecutive pieces of an agent's first prompt after the batch's prefix. Prompts with a common beginning
// have equal first marks.
type Marks []uint64

// markBytes is the length of a piece: about 16 tokens, the usual block of a server's cache.
const markBytes = 64

// MarksOf returns the marks of a text. The rest that does not fill a piece has none.
func MarksOf(text string) Marks {
	marks := make(Marks, 0, len(text)/markBytes)
	for ; len(text) >= markBytes; text = text[markBytes:] {
		marks = append(marks, xxhash.Sum64String(text[:markBytes]))
	}
	return marks
}

// common returns the number of bytes at the beginning of both.
func (m Marks) common(o Marks) int {
	n := 0
	for n < min(len(m), len(o)) && m[n] == o[n] {
		n++
	}
	return n * markBytes
}

// shelf is a set of agents in the order of their marks. Neighbours share the longest beginnings. So the bytes that a set of agents
// holds are all their bytes, less the common beginning of each agent with its neighbour. This counts every text once, however deep
// texts nest: collection, document, section.
type shelf struct {
	agents []*account
	shared int // bytes, the sum of the common beginnings of neighbours
}

// find returns the position at which an agent is, or would be.
func (s *shelf) find(a *account) (at int, there bool) {
	return slices.BinarySearchFunc(s.agents, a, func(b, a *account) int {
		return cmp.Or(slices.Compare(b.marks, a.marks), cmp.Compare(b.arrival, a.arrival))
	})
}

// around returns the bytes that an agent has in common with the one before and the one after a position.
func (s *shelf) around(a *account, before, after int) (below, above int) {
	if before >= 0 {
		below = a.marks.common(s.agents[before].marks)
	}
	if after < len(s.agents) {
		above = a.marks.common(s.agents[after].marks)
	}
	return below, above
}

// overlap returns how many bytes of the agent's prompt the others on the shelf hold.
func (s *shelf) overlap(a *account) int {
	at, there := s.find(a)
	after := at
	if there {
		after++
	}
	return max(s.around(a, at-1, after))
}

// put adds an agent. It returns the bytes that the agent shares with its predecessor, and its successor, if any, with the
// bytes that it shares with the agent.
func (s *shelf) put(a *account) (below int, next *account, above int) {
	at, there := s.find(a)
	if there {
		below, _ = s.around(a, at-1, at+1)
		return below, nil, 0
	}
	below, above = s.around(a, at-1, at)
	s.shared += max(below, above)
	if at < len(s.agents) {
		next = s.agents[at]
	}
	s.agents = slices.Insert(s.agents, at, a)
	return below, next, above
}

// take removes an agent. It returns its successor, if any, with the bytes that it shares with the agent's predecessor.
func (s *shelf) take(a *account) (next *account, common int) {
	at, there := s.find(a)
	if !there {
		return nil, 0
	}
	below, above := s.around(a, at-1, at+1)
	s.shared -= max(below, above)
	s.agents = slices.Delete(s.agents, at, at+1)
	if at < len(s.agents) {
		return s.agents[at], min(below, above)
	}
	return nil, 0
}
