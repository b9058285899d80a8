package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// turnsShown limits the turns in one answer.
const turnsShown = 200

// JobView is one job.
type JobView struct {
	Batch    batch.ID        `json:"batch"`
	JobID    string          `json:"job_id"`
	Index    int64           `json:"index"`
	ID       string          `json:"id,omitempty" jsonschema:"the user's own key of the input; missing if the spec has no id"`
	Finished bool            `json:"finished"`
	Holder   string          `json:"holder" jsonschema:"ID of the worker process that runs the job; empty if none runs it"`
	Attempt  int             `json:"attempt" jsonschema:"number of the running attempt; 0 if none runs"`
	Input    json.RawMessage `json:"input" jsonschema:"the fields that the prompt uses or that the result repeats; once the job has succeeded the carried fields, or null without any"`
	Bad      string          `json:"bad,omitempty" jsonschema:"why the input cannot be used"`
	Turns    []agent.Turn    `json:"turns" jsonschema:"from the journal or the result's transcript, oldest first"`
	More     int             `json:"more_turns" jsonschema:"number of further turns that the answer omits"`
	Result   json.RawMessage `json:"result" jsonschema:"null without a result, or if it is too far from the job's index in the results; a cursor finds it in both cases"`
}

func (s *Server) job(w http.ResponseWriter, r *http.Request) error {
	v, err := s.jobView(r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, v)
}

// jobView reads the job in the request's path.
func (s *Server) jobView(r *http.Request) (JobView, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return JobView{}, err
	}
	index, err := strconv.ParseInt(r.PathValue("index"), 10, 64)
	if err != nil || index < 0 || index > 1<<32-1 {
		return JobView{}, problem(http.StatusNotFound, "not-found", "%q is not the index of a job: the first is 0", r.PathValue("index"))
	}
	cursor, err := number(r, "cursor", 0, 0, maxCursor)
	if err != nil {
		return JobView{}, err
	}
	seen, err := s.store.Inspect(ctx, batch.Job{Batch: id, Index: index}, turnsShown)
	if errors.Is(err, statestore.ErrNotFound) {
		if info, infoErr := s.store.Info(ctx, id); infoErr == nil {
			return JobView{}, problem(http.StatusNotFound, "not-found", "batch %s has no %s; it has %d jobs", id, batch.JobID(index), info.Counts.Fed)
		}
	}
	if err != nil {
		return JobView{}, err
	}
	v := JobView{
		Batch: id, JobID: batch.JobID(index), Index: index, Finished: seen.Finished, Holder: seen.Holder, Attempt: seen.Attempt,
		Turns: []agent.Turn{}, More: seen.Journal - len(seen.Turns),
	}
	if seen.Payload != nil {
		if err := v.fromPayload(seen.Payload); err != nil {
			return v, fmt.Errorf("decode the input of %s: %w", seen.Job, err)
		}
	}
	for n, line := range seen.Turns {
		var t agent.Turn
		if err := json.Unmarshal(line, &t); err != nil {
			return v, fmt.Errorf("decode turn %d of %s: %w", n+1, seen.Job, err)
		}
		v.Turns = append(v.Turns, t)
	}
	if seen.Failed > 0 {
		cursor = seen.Failed
	}
	if seen.Finished && cursor == 0 {
		v.Result, err = s.findResult(ctx, id, index)
		if err != nil {
			return v, err
		}
	}
	if cursor > 0 {
		e, err := s.store.Result(ctx, id, cursor)
		if err != nil {
			return v, err
		}
		if e != nil && e.Index == index {
			v.Result = e.Line
		}
	}
	return v, v.fromResult()
}

// resultsSearched limits the number of results that findResult reads.
const resultsSearched = 20_000

// findResult searches a job's result near the position that it has if jobs end in order. It returns nil if the result
// is not found.
func (s *Server) findResult(ctx context.Context, id batch.ID, index int64) (json.RawMessage, error) {
	const page = 500
	from := max(0, index-resultsSearched/2)
	for read := 0; read < resultsSearched; {
		entries, err := s.store.Results(ctx, id, from, page)
		if err != nil || len(entries) == 0 {
			return nil, err
		}
		for _, e := range entries {
			if e.Index == index {
				return e.Line, nil
			}
		}
		read, from = read+len(entries), entries[len(entries)-1].Cursor
	}
	return nil, nil
}

// fromPayload copies the ID and the fields of the input from the payload of a job.
func (v *JobView) fromPayload(payload []byte) error {
	var p struct {
		In    json.RawMessage            `json:"in"`
		ID    string                     `json:"id"`
		Carry map[string]json.RawMessage `json:"carry"`
		Bad   string                     `json:"bad"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return err
	}
	v.Input, v.ID, v.Bad = p.In, p.ID, p.Bad
	if len(p.Carry) == 0 {
		return nil
	}
	if p.In != nil {
		if err := json.Unmarshal(p.In, &p.Carry); err != nil {
			return err
		}
	}
	var err error
	v.Input, err = plainjson.Marshal(p.Carry)
	return err
}

// fromResult copies the ID, the carried fields and the turns from the transcript in the job's result if the journal was dropped.
func (v *JobView) fromResult() error {
	if v.Result == nil {
		return nil
	}
	var kept struct {
		ID         string          `json:"id"`
		Input      json.RawMessage `json:"input"`
		Transcript []agent.Turn    `json:"transcript"`
	}
	if err := json.Unmarshal(v.Result, &kept); err != nil {
		return fmt.Errorf("decode the transcript of %s: %w", v.JobID, err)
	}
	v.ID = cmp.Or(v.ID, kept.ID)
	if v.Input == nil {
		v.Input = kept.Input
	}
	if len(v.Turns) > 0 {
		return nil
	}
	shown := kept.Transcript[:min(len(kept.Transcript), turnsShown)]
	v.Turns, v.More = append(v.Turns, shown...), len(kept.Transcript)-len(shown)
	return nil
}
