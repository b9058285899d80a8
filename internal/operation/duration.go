package operation

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Duration is a duration whose JSON is a string such as "168h". It also reads numbers of nanoseconds, which earlier versions wrote.
type Duration time.Duration

// MarshalJSON implements [json.Marshaler].
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// String returns the duration without units that are zero: "168h", "1h30m", "0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// UnmarshalJSON implements [json.Unmarshaler].
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		parsed, err := time.ParseDuration(text)
		*d = Duration(parsed)
		return err
	}
	var nanoseconds int64
	if err := json.Unmarshal(data, &nanoseconds); err != nil {
		return fmt.Errorf("%s is not a duration such as \"24h\"", data)
	}
	*d = Duration(nanoseconds)
	return nil
}

// Worker is a worker in the form that users see.
type Worker struct {
	batch.WorkerRecord
	// Sharing replaces the field of the record.
	Sharing map[string]ToolSharing `json:"sharing,omitempty"`
}

// ToolSharing is [batch.ToolSharing] in the form that users see.
type ToolSharing struct {
	Share string   `json:"share"`
	TTL   Duration `json:"ttl,omitempty"`
}

// WorkersOf returns workers in the form that users see.
func WorkersOf(records []batch.WorkerRecord) []Worker {
	out := make([]Worker, len(records))
	for i, r := range records {
		out[i].WorkerRecord = r
		if r.Sharing != nil {
			out[i].Sharing = map[string]ToolSharing{}
		}
		for name, s := range r.Sharing {
			out[i].Sharing[name] = ToolSharing{s.Share, Duration(s.TTL)}
		}
	}
	return out
}

// Record returns the record of a worker that a server described.
func (w Worker) Record() batch.WorkerRecord {
	r := w.WorkerRecord
	if w.Sharing != nil {
		r.Sharing = map[string]batch.ToolSharing{}
	}
	for name, s := range w.Sharing {
		r.Sharing[name] = batch.ToolSharing{Share: s.Share, TTL: time.Duration(s.TTL)}
	}
	return r
}
