package sim

import (
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// question returns the hash of a job's question, computed from the compiled spec and the payload alone.
func (c Config) question(payload []byte) (string, error) {
	text, err := c.compiled()
	if err != nil {
		return "", err
	}
	compiled, err := spec.ParseCompiled(text)
	if err != nil {
		return "", err
	}
	tools := make([]spec.AskedTool, len(compiled.Tools))
	for i, name := range compiled.Tools {
		tools[i].Name = name
	}
	asks, err := compiled.Asks(tools)
	if err != nil {
		return "", err
	}
	job, err := spec.DecodePayload(payload)
	if err != nil {
		return "", err
	}
	return asks.Of(compiled, &job), nil
}

// answers checks I10: a result belongs to its job's question. A job that was cancelled before any worker had it has no question.
func (k *checker) answers(r batch.Result) {
	if k.id != batchID || r.Status == batch.StatusCancelled && r.Question == "" {
		return
	}
	want, err := k.cfg.question(payload(int(r.Index)))
	if err != nil {
		k.fail("sim", "%v", err)
	}
	if r.Question != want {
		k.fail("I10", "the result of job %d answers the question %q; the job asks %q", r.Index, r.Question, want)
	}
}
