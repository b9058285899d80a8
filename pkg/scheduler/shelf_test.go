package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// text returns a text of so many tokens that no other name has.
func text(name string, tokens int) string {
	return strings.Repeat(fmt.Sprintf("%-16s", name), tokens/4)
}

func TestMarksOfTextsShareTheirBeginning(t *testing.T) {
	t.Parallel()
	a, b := MarksOf(text("collection", 160)+text("a", 160)), MarksOf(text("collection", 160)+text("b", 320))
	assert.Len(t, a, 320*4/markBytes)
	assert.Equal(t, 160*4, a.common(b))
	assert.Equal(t, 320*4, a.common(a))
	assert.Zero(t, a.common(nil))
	assert.Empty(t, MarksOf("short"))
}

// Collections, documents and sections: a text that several agents hold counts once, also after its first agent has ended.
func TestNestedTextsCountOnce(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 1_000_000})
	l.Declare("b", 0, 8)
	start := func(id string, texts ...string) {
		prompt := strings.Join(texts, "") + text(id, 160)
		l.Start(id, "b", len(prompt), 0, MarksOf(prompt))
	}
	collection, document, other := text("collection", 1_600), text("document", 3_200), text("other", 4_800)
	start("a", collection, document)
	start("b", collection, document)
	start("c", collection, other)
	start("d", text("alone", 1_600))
	once := 1_600 + 3_200 + 4_800 + 1_600
	require.InDelta(t, once+4*160, l.State().Held, 20)
	l.End("a", true)
	require.InDelta(t, once+3*160, l.State().Held, 20, "b still holds the document")
	l.Leave("b")
	require.InDelta(t, once-3_200+2*160, l.State().Held, 20)
	require.Nil(t, l.boundary("b"))
	require.InDelta(t, once+3*160, l.State().Held, 20)
	l.End("c", true)
	l.End("b", true)
	assert.InDelta(t, 1_600+160, l.State().Held, 20)
}

// The next group does not fit, but more agents of the last one do.
func TestRoomForTheRestOfAGroup(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 110_000})
	l.Declare("b", 0, 1)
	started := 0
	start := func(n int) {
		for range n {
			prompt := text(fmt.Sprint("document ", started/8), 30_000) + text(fmt.Sprint("question ", started), 160)
			l.Start(fmt.Sprint(started), "b", len(prompt), 0, MarksOf(prompt))
			started++
		}
	}
	start(20)
	assert.Equal(t, 4, l.Room("b", 30_000*4, 50), "the third document is full with eight agents, and a fourth does not fit")
	start(4)
	assert.Zero(t, l.Room("b", 30_000*4, 50))
	for i := range 8 {
		l.End(fmt.Sprint(i), true)
	}
	assert.Equal(t, 8, l.Room("b", 30_000*4, 50), "a document has ended")
}

// Calls that share a document use its tokens once, so that the rest of the cache's use is not taken for another client's.
func TestCallsOfOneDocumentExplainTheUseOfTheCache(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	document := text("document", 4_000)
	for i := range 4 {
		id, prompt := fmt.Sprint(i), document+text(fmt.Sprint(i), 160)
		s.Start(id, "b", len(prompt), 0, MarksOf(prompt))
		s.Call(id, len(prompt))
	}
	s.others = 4_000 + 4*160
	s.read(5)
	assert.Equal(t, 10_000, s.State().Budget)
	for i := range 3 {
		s.Failed(fmt.Sprint(i))
	}
	s.others = 4_000 + 160
	s.read(5)
	assert.Equal(t, 10_000, s.State().Budget, "the agent that still calls may not be the one that counts the document")
	s.others = 10_000
	s.read(5)
	assert.InDelta(t, 4_100, s.State().Budget, 100)
}
