package batch

import "strings"

// Stage is a part of a batch. Redis keeps each stage like a batch. The jobs have the batch's own ID, and the IDs of the other stages
// end with "." and the stage.
type Stage string

// The stages in the order of their execution. Every batch has jobs.
const (
	StagePlan   Stage = "plan"   // one job, the planner; its answer has the items that become the jobs
	StageJobs   Stage = "jobs"   // one job per input or item
	StageReduce Stage = "reduce" // one job, the reducer; it reads the results of the jobs
)

// Stage returns the stage that the ID names.
func (id ID) Stage() Stage {
	for _, s := range []Stage{StagePlan, StageReduce} {
		if strings.HasSuffix(string(id), s.suffix()) {
			return s
		}
	}
	return StageJobs
}

// Whole returns the batch that this one is a stage of. It returns any other batch's own ID.
func (id ID) Whole() ID { return ID(strings.TrimSuffix(string(id), id.Stage().suffix())) }

// ForStage returns the ID of a stage of the whole batch, whether or not the batch has that stage.
func (id ID) ForStage(s Stage) ID { return id.Whole() + ID(s.suffix()) }

func (s Stage) suffix() string {
	if s == StageJobs {
		return ""
	}
	return "." + string(s)
}

// Stages returns the stages of the batch in the order of their execution.
func (h Header) Stages() []Stage {
	var out []Stage
	if h.Plan {
		out = append(out, StagePlan)
	}
	out = append(out, StageJobs)
	if h.Reduce {
		out = append(out, StageReduce)
	}
	return out
}
