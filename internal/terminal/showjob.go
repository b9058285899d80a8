package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
)

// ShowJob writes one result with its conversation. prompt is nil if it is not known.
func ShowJob(w io.Writer, r batch.Result, prompt *operation.Prompt) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("job", "%s of batch %s", nameOf(r), r.Batch)
	line("status", "%s", r.Status)
	if r.Error != nil {
		line("error", "%s: %s", r.Error.Type, r.Error.Message)
	}
	line("attempts", "%d, with %s", r.Attempts, human.Plural(int64(r.Turns), "turn", "turns"))
	line("tokens", "%s", tokensText(r.Usage))
	if r.Tools.Asked > 0 {
		line("tools", "asked %s, executed %s", human.Count(r.Tools.Asked), human.Count(r.Tools.Executed))
	}
	if r.Model != "" {
		line("model", "%s", r.Model)
	}
	if r.Replayed > 0 {
		line("replayed", "%s from the journal of an earlier attempt", human.Plural(int64(r.Replayed), "call", "calls"))
	}
	if r.DivergedAt > 0 {
		line("diverged", "at call %d, which an earlier attempt did not make", r.DivergedAt)
	}
	line("time", "%s on %s", human.MS(r.WallMS), r.Worker)
	section := func(title, text string) { fmt.Fprintf(&b, "\n--- %s\n%s\n", title, strings.TrimRight(text, "\n")) }
	if len(r.Input) > 0 {
		section("input", pretty(r.Input))
	}
	if len(r.Item) > 0 {
		section("item", pretty(r.Item))
	}
	if prompt != nil {
		showPrompt(section, *prompt)
	}
	if err := showTurns(section, r); err != nil {
		return err
	}
	if r.Error != nil && r.Error.Raw != "" {
		section("last text of the model", r.Error.Raw)
	}
	if r.Status == batch.OK {
		section("output", pretty(r.Output))
	}
	showFiles(section, r.Files)
	if r.Diff != "" {
		section("changes of the working folder", r.Diff)
	}
	if f := r.DiffFile; f != nil {
		section("changes of the working folder, "+human.Plural(f.Size, "byte", "bytes"), "kept at "+f.Path)
	}
	_, err := io.WriteString(w, human.Visible(b.String()))
	return err
}

func showFiles(section func(title, text string), files map[string]batch.File) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		title := fmt.Sprintf("file %s, %s", name, human.Plural(f.Size, "byte", "bytes"))
		switch {
		case f.Path != "":
			section(title, "kept at "+f.Path)
		case f.Cut:
			section(title+", the beginning", contentOf(f))
		default:
			section(title, contentOf(f))
		}
	}
}

func contentOf(f batch.File) string {
	if len(f.Base64) > 0 {
		return "(not text)"
	}
	return f.Text
}

func showPrompt(section func(title, text string), p operation.Prompt) {
	of := ""
	if p.Changed {
		of = " (of the present spec; this result answers another one)"
	}
	if p.System != "" {
		section("system prompt"+of, p.System)
	}
	section("prompt"+of, p.Task)
}

func showTurns(section func(title, text string), r batch.Result) error {
	if len(r.Transcript) == 0 {
		if r.Turns > 0 {
			section("turns", "not kept; transcripts: true in the spec keeps them in each result")
		}
		return nil
	}
	var turns []agent.Turn
	if err := json.Unmarshal(r.Transcript, &turns); err != nil {
		return fmt.Errorf("read the transcript of %s: %w", r.JobID, err)
	}
	for i, t := range turns {
		var b strings.Builder
		if t.Assistant.Reasoning != nil && t.Assistant.Reasoning.Text != "" {
			fmt.Fprintf(&b, "(thinking) %s\n", t.Assistant.Reasoning.Text)
		}
		if t.Assistant.Content != "" {
			fmt.Fprintln(&b, t.Assistant.Content)
		}
		if t.Call != nil && t.Call.Tool != "" {
			fmt.Fprintf(&b, "the program calls %s\n", t.Call.Tool)
		}
		for _, call := range t.Assistant.ToolCalls {
			fmt.Fprintf(&b, "calls %s %s\n", call.Name, call.Arguments)
		}
		for _, result := range t.Tools {
			fmt.Fprintf(&b, "result: %s\n", result.Content)
		}
		if t.Repair != "" {
			fmt.Fprintf(&b, "repair request: %s\n", t.Repair)
		}
		section(fmt.Sprintf("turn %d", i+1), b.String())
	}
	return nil
}

// pretty indents a JSON value.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}
