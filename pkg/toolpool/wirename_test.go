package toolpool

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestWireNames(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "read_file", WireName("read_file"))
	assert.Equal(t, "files__read-it", WireName("files.read-it"))
	assert.Equal(t, "s___x", WireName("s._x"))
	assert.Equal(t, "s._x", SpecName("s___x"))
	assert.Equal(t, "read_file", SpecName("read_file"))
	assert.Equal(t, "__x", SpecName("__x"))
	assert.NotEqual(t, WireName("s.a.b"), WireName("s.a/b"))
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9-]{1,32}\.[A-Za-z0-9_./-]{1,128}`).Draw(t, "name")
		wire := WireName(name)
		if !toolName.MatchString(wire) {
			t.Fatalf("%q becomes %q, which servers refuse", name, wire)
		}
		if back := WireName(SpecName(wire)); back != wire {
			t.Fatalf("%q is shown as %q, which names %q", wire, SpecName(wire), back)
		}
	})
}
