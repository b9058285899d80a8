package batch

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStageOfID(t *testing.T) {
	t.Parallel()
	const id ID = "b_01k5x8zq3v6t9w2y4a7c1d0efg"
	for stage, want := range map[Stage]ID{StagePlan: id + ".plan", StageJobs: id, StageReduce: id + ".reduce"} {
		for _, of := range []ID{id, id + ".plan", id + ".reduce"} {
			assert.Equal(t, want, of.ForStage(stage), "from %s", of)
		}
		assert.Equal(t, stage, want.Stage())
		assert.Equal(t, id, want.Whole())
		parsed, err := ParseID(string(want))
		assert.NoError(t, err)
		assert.Equal(t, want, parsed)
	}
}

func TestStagesOfHeader(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []Stage{StageJobs}, Header{}.Stages())
	assert.Equal(t, []Stage{StagePlan, StageJobs, StageReduce}, Header{Plan: true, Reduce: true}.Stages())
}
