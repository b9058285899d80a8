package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fails makes calls of n jobs of a batch fail.
func (c *calls) fails(batch string, n int) {
	for i := range n {
		c.end(c.startOf(fmt.Sprint(batch, "/job-", c.n, "-", i)), Failed)
	}
}

func TestBadBatchIsHeldBack(t *testing.T) {
	c := newCalls(t)
	slow := c.startOf("good/job-1")
	c.fails("bad", tripJobs)
	assert.False(t, c.isOpen(), "another batch may be answered")
	assert.True(t, c.b.Held(c.now, "bad/job-9"))
	assert.False(t, c.b.Held(c.now, "good/job-2"))

	ok, again := c.b.MayStart(c.now, "bad/job-9")
	assert.False(t, ok, "no call was answered since")
	assert.Equal(t, heldEvery, again.Sub(c.now.Add(-time.Millisecond)))
	c.end(slow, Answered)
	one := c.startOf("bad/job-9")
	ok, _ = c.b.MayStart(c.now, "bad/job-10")
	assert.False(t, ok, "one call for each answer")
	c.end(c.startOf("good/job-2"), Answered)
	two := c.startOf("bad/job-10")
	c.end(c.startOf("good/job-3"), Answered)
	ok, _ = c.b.MayStart(c.now, "bad/job-11")
	assert.False(t, ok, "two in flight")

	sent, proven := c.b.EvidenceFor(c.now, "good/job-9")
	assert.False(t, sent.IsZero())
	assert.True(t, proven)
	sent, _ = c.b.EvidenceFor(c.now, "bad/job-9")
	assert.Zero(t, sent, "the server may refuse this batch alone for a while")
	c.wait(sameTrust)
	c.end(c.startOf("good/job-4"), Answered)
	sent, proven = c.b.EvidenceFor(c.now, "bad/job-9")
	assert.False(t, sent.IsZero())
	assert.False(t, proven)

	c.end(one, Answered)
	c.end(two, Failed)
	assert.False(t, c.b.Held(c.now, "bad/job-11"), "the batch was answered")
}

func TestOutageOfTwoBatchesOpens(t *testing.T) {
	c := newCalls(t)
	c.end(c.startOf("a/job-1"), Answered)
	c.end(c.startOf("b/job-1"), Answered)
	c.fails("a", tripJobs)
	require.False(t, c.isOpen())
	c.fails("b", tripJobs)
	assert.True(t, c.isOpen())
}

func TestBatchIsNotHeldForEndedBatch(t *testing.T) {
	c := newCalls(t)
	c.end(c.startOf("good/job-1"), Answered)
	c.fails("bad", tripJobs)
	require.False(t, c.isOpen())
	c.wait(activeFor)
	c.fails("bad", tripJobs)
	assert.True(t, c.isOpen(), "no other batch proves that the server works")
}

func TestEndedBatchesAreDropped(t *testing.T) {
	c := newCalls(t)
	for i := range 3 * maxBatches {
		c.end(c.startOf(fmt.Sprint("batch-", i, "/job-1")), Answered)
	}
	assert.LessOrEqual(t, len(c.b.batches), maxBatches)
}
