package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/batchagent/batchagent/internal/operation"
)

// maxObject limits a submission that is one JSON object, because it is held in memory.
const maxObject = 64 << 20

// fromObject reads {"spec":{…},"inputs":[…]}. The inputs become lines. A spec may also contain its inputs.
func fromObject(body io.Reader) (operation.Sent, error) {
	all, err := io.ReadAll(io.LimitReader(body, maxObject+1))
	if len(all) > maxObject {
		return operation.Sent{}, problem(http.StatusRequestEntityTooLarge, "too-large",
			"a JSON object has at most %d MiB; send more inputs as lines, with Content-Type: %s", maxObject>>20, ndjson)
	}
	if err != nil {
		return headed(nil, nil, err)
	}
	var object struct {
		Spec   json.RawMessage   `json:"spec"`
		Inputs []json.RawMessage `json:"inputs"`
	}
	if err := json.Unmarshal(all, &object); err != nil {
		return operation.Sent{}, problem(http.StatusBadRequest, "invalid", `the body is not an object {"spec":{…},"inputs":[…]}: %v`, err)
	}
	if len(object.Spec) > maxFirst {
		return operation.Sent{}, problem(http.StatusRequestEntityTooLarge, "too-large", "the spec is longer than %d bytes; send its inputs as the field inputs beside spec", maxFirst)
	}
	var lines bytes.Buffer
	for _, input := range object.Inputs {
		if err := json.Compact(&lines, input); err != nil {
			return headed(nil, nil, err)
		}
		lines.WriteByte('\n')
	}
	return headed(all, &lines, nil)
}
