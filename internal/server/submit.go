package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	// maxFirst limits the spec, or the line that contains it.
	maxFirst = 5 << 20
	// maxKey limits the length of an Idempotency-Key.
	maxKey = 255
	// unnamedOwner is the owner of a batch if its spec names none.
	unnamedOwner = "api"
)

// Submitted is the answer to a submission.
type Submitted struct {
	ID      batch.ID        `json:"id"`
	Total   int64           `json:"total" jsonschema:"jobs of the batch; 0 if a plan makes them"`
	Rows    []int64         `json:"rows,omitempty" jsonschema:"the row of each job by index; missing if the jobs are all rows or the first ones"`
	Notices []notice.Notice `json:"notices" jsonschema:"warnings about the spec, its inputs and its tools"`
}

func (s *Server) submit(w http.ResponseWriter, r *http.Request) error {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return problem(http.StatusBadRequest, "invalid", "an Idempotency-Key has at most %d bytes", maxKey)
	}
	receive, ok := take(s.uploads)
	if !ok {
		return busy(fmt.Sprintf("%d submissions are being received already", cap(s.uploads)))
	}
	defer receive()
	// Check Redis first, so that no client sends a gigabyte in vain.
	ping, cancel := context.WithTimeout(r.Context(), lookTimeout)
	err := s.store.Ping(ping)
	cancel()
	if err != nil {
		return err
	}
	sent, err := s.receive(w, r)
	if err != nil {
		return err
	}
	n := &notices{}
	sub, err := operation.Receive(r.Context(), sent, s.store, n.add)
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := sub.CheckTools(r.Context(), s.store); err != nil {
		return err
	}
	// The slot is taken after the body was received, so that slow senders hold no slot.
	give, ok := take(s.submissions)
	if !ok {
		return busy(fmt.Sprintf("%d submissions are under way already", cap(s.submissions)))
	}
	defer give()
	// A valid submission that was received is submitted even if its sender disconnects. Only the server's end stops it.
	before, err := sub.SubmitOnce(s.work, s.store, key)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if before {
		status = http.StatusOK
	}
	s.log.Info("batch submitted", "batch", sub.ID, "jobs", sub.Total, "again", before)
	w.Header().Set("Location", "/api/v1/batches/"+string(sub.ID))
	return reply(w, status, Submitted{ID: sub.ID, Total: sub.Total, Rows: sub.ChosenRows(), Notices: n.all()})
}

// receive reads the part of the body before the inputs. The inputs are read later.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (operation.Sent, error) {
	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil {
		switch media {
		case "multipart/form-data":
			return fromParts(multipart.NewReader(r.Body, params["boundary"]))
		case ndjson, "application/jsonl":
			in := bufio.NewReaderSize(r.Body, 64<<10)
			line, err := firstLine(in)
			return headed(line, in, err)
		case "application/json":
			return fromObject(r.Body)
		}
	}
	return operation.Sent{}, problem(http.StatusUnsupportedMediaType, "media-type",
		"a submission is multipart/form-data with the parts spec and inputs, or %s with the spec in its first line, not %q", ndjson, r.Header.Get("Content-Type"))
}

// headed returns the submission with the spec in line and with these inputs. err is the error from reading line.
func headed(line []byte, inputs io.Reader, err error) (operation.Sent, error) {
	if err != nil {
		return operation.Sent{}, broken(err)
	}
	var spec, plan, planner, reduce json.RawMessage
	var rows chosen
	err = readMembers(line, rows.with(map[string]*json.RawMessage{"spec": &spec, "plan": &plan, "planner": &planner, "reduce": &reduce}))
	switch {
	case err == nil && (spec == nil) == (plan == nil):
		err = errNoSpec
	case err == nil && spec != nil && (planner != nil || reduce != nil):
		return operation.Sent{}, problem(http.StatusBadRequest, "invalid", `planner and reduce belong to a plan; a spec has its fields plan and reduce`)
	}
	if err != nil {
		return operation.Sent{}, problem(http.StatusBadRequest, "invalid", `the body does not begin with {"spec":{…}}: %v; inputs that are not in the spec follow it, one per line`, err)
	}
	sent := sentSpec(spec, inputs)
	sent.Plan, sent.Planner, sent.Reduce = plan, planner, reduce
	return sent, rows.apply(&sent)
}

func sentSpec(spec json.RawMessage, inputs io.Reader) operation.Sent {
	return operation.Sent{Spec: spec, Name: "spec.json", Inputs: inputs, Owner: unnamedOwner}
}

func firstLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxFirst:
			return nil, problem(http.StatusRequestEntityTooLarge, "too-large", "the first line, which contains the spec, is longer than %d bytes", maxFirst)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) || err == nil:
			return bytes.TrimSpace(line), nil
		}
		return nil, err
	}
}

// readFirst reads at most maxFirst bytes. It returns an error for more, because the beginning of a spec can be another valid spec.
func readFirst(r io.Reader, what string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFirst+1))
	if err == nil && len(text) > maxFirst {
		err = problem(http.StatusRequestEntityTooLarge, "too-large", "%s is longer than %d bytes; send inputs after the spec", what, maxFirst)
	}
	return text, err
}

// maxChoice limits a part of a form that chooses rows.
const maxChoice = 16 << 10

// fromParts reads the spec from a form, and the parts that choose rows. The inputs are the last part and are streamed.
func fromParts(form *multipart.Reader) (operation.Sent, error) {
	part, err := form.NextPart()
	if err != nil {
		return operation.Sent{}, broken(err)
	}
	if part.FormName() != "spec" {
		return operation.Sent{}, problem(http.StatusBadRequest, "invalid", "the first part of the form is %q; it must be spec, and inputs come after it", part.FormName())
	}
	text, err := readFirst(part, "the part spec")
	if err != nil {
		return operation.Sent{}, broken(err)
	}
	sent := operation.Sent{Spec: text, Name: "spec.yaml", Inputs: strings.NewReader(""), Owner: unnamedOwner}
	var rows chosen
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return sent, rows.apply(&sent)
		}
		if err != nil {
			return operation.Sent{}, broken(err)
		}
		if part.FormName() == "inputs" {
			sent.Inputs = part
			return sent, rows.apply(&sent)
		}
		to, ok := rows.members()[part.FormName()]
		if !ok || *to != nil {
			return operation.Sent{}, problem(http.StatusBadRequest, "invalid",
				"after the spec comes a part %q; the parts are limit, sample, seed and rerun, each at most once, and then inputs", part.FormName())
		}
		if *to, err = io.ReadAll(io.LimitReader(part, maxChoice)); err != nil {
			return operation.Sent{}, broken(err)
		}
	}
}

// broken returns the error for a body that ended early or is malformed.
func broken(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return problem(http.StatusBadRequest, "invalid", "read the request: %v", err)
}
