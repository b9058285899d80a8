package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
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
	var spec, list json.RawMessage
	var inputs []json.RawMessage
	var rows chosen
	err = readMembers(all, rows.with(map[string]*json.RawMessage{"spec": &spec, "inputs": &list}))
	if err == nil && list != nil {
		err = json.Unmarshal(list, &inputs)
	}
	if err != nil || spec == nil {
		return operation.Sent{}, problem(http.StatusBadRequest, "invalid", `the body is not an object {"spec":{…},"inputs":[…]}: %v`, cmp.Or(err, errNoSpec))
	}
	if len(spec) > maxFirst {
		return operation.Sent{}, problem(http.StatusRequestEntityTooLarge, "too-large", "the spec is longer than %d bytes; send its inputs as the field inputs beside spec", maxFirst)
	}
	var lines bytes.Buffer
	for _, input := range inputs {
		if err := json.Compact(&lines, input); err != nil {
			return headed(nil, nil, err)
		}
		lines.WriteByte('\n')
	}
	sent := sentSpec(spec, &lines)
	return sent, rows.apply(&sent)
}

var errNoSpec = errors.New("the field spec is missing")

// readMembers reads the members of a JSON object. It returns an error for an unknown name and for a name that occurs twice, because
// either would drop a value silently. Absent members stay nil.
func readMembers(text []byte, into map[string]*json.RawMessage) error {
	in := json.NewDecoder(bytes.NewReader(text))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return cmp.Or(err, errNoObject)
	}
	for in.More() {
		t, err := in.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		value, ok := into[name]
		switch {
		case !ok:
			return fmt.Errorf("unknown field %q", name)
		case *value != nil:
			return fmt.Errorf("the field %q occurs twice", name)
		}
		if err := in.Decode(value); err != nil {
			return err
		}
	}
	if _, err := in.Token(); err != nil {
		return err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text follows the object")
	}
	return nil
}

var errNoObject = errors.New("not an object")
