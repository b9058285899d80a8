package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// hostileSchema has a recursion with two variants, 40 levels that each offer the previous one twice, a number and a pattern
// that backtracks.
func hostileSchema() string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/e","$defs":{"l0":{"type":"string"}`)
	for i := 1; i <= 40; i++ {
		fmt.Fprintf(&b, `,"l%d":{"anyOf":[{"$ref":"#/$defs/l%d"},{"$ref":"#/$defs/l%d"}]}`, i, i-1, i-1)
	}
	b.WriteString(`,"e":{"anyOf":[
 {"type":"object","properties":{"op":{"const":"not"},"arg":{"$ref":"#/$defs/e"}},"required":["op"]},
 {"type":"object","properties":{"op":{"const":"neg"},"arg":{"$ref":"#/$defs/e"}},"required":["op"]},
 {"type":"object","properties":{"chain":{"$ref":"#/$defs/l40"},"n":{"type":"integer","multipleOf":7},"p":{"pattern":"^(?=a)(a+)+$"},"ok":{"type":"boolean"}},"additionalProperties":false}]}}}`)
	return strings.ReplaceAll(b.String(), "\n", "")
}

// hostileTools are the calls that a case makes: the tool and its arguments.
var hostileTools = map[string][2]string{
	"quotes":    {"http_get", `{"url":"SERVICE/quotes"}`},
	"bomb":      {"http_get", `{"url":"SERVICE/bomb"}`},
	"blob":      {"sql_query", `{"query":"SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000))||'1')"}`},
	"rows":      {"sql_query", `{"query":"WITH RECURSIVE n(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM n) SELECT length(x) FROM n"}`},
	"list":      {"python_eval", `{"code":"len(list(range(1000 * 1000 * 1000)))"}`},
	"equal":     {"python_eval", `{"code":"a = 'x'\nfor i in range(60):\n  a = [a, a]\na"}`},
	"search":    {"grep_files", `{"pattern":"(?:(?:|a){0,30}){0,30}$","path":"."}`},
	"nested":    {"tree", nestedTree(17)},
	"deeper":    {"tree", nestedTree(2_000)},
	"arguments": {"python_eval", `{"code":"` + strings.Repeat("1+", 10<<20) + `1"}`},
	"kill":      {"deadly", `{}`},
}

// hostileAnswers are the answers by case.
var hostileAnswers = map[string]string{
	"deep": nestedTree(18), "deepest": nestedTree(5_000), "chain": `{"chain":1}`, "digits": `{"n":` + strings.Repeat("7", 1_000_000) + `1}`,
	"exponent": `{"n":1e1000000000}`, "pattern": `{"p":"` + strings.Repeat("a", 60) + `!"}`, "brackets": strings.Repeat("[", 1_000_000),
	"members": "{" + strings.Repeat(`"a":{`, 200_000), "invalid": "{\"ok\":\xff\xfe}", "direction": "{\"ok\":\u202etrue}", "long": strings.Repeat("x", 64<<20),
}

func nestedTree(levels int) string {
	return strings.Repeat(`{"op":"x","arg":`, levels) + "1" + strings.Repeat("}", levels)
}

// hostileCases are the names of all cases but the deadly one.
func hostileCases() []string {
	names := slices.Concat(slices.Collect(maps.Keys(hostileTools)), slices.Collect(maps.Keys(hostileAnswers)), []string{"endless", "calls", "indexes"})
	names = slices.DeleteFunc(names, func(n string) bool { return n == "kill" })
	slices.Sort(names)
	return names
}

// hostileModel speaks the chat API. The user's message names the case.
func hostileModel(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
		return
	}
	var asked struct {
		Messages []struct{ Role, Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, service, used := "", "", false
	for _, m := range asked.Messages {
		if _, after, found := strings.Cut(m.Content, "case "); found && m.Role == "user" && name == "" {
			name, service, _ = strings.Cut(strings.Fields(after)[0], "@")
		}
		used = used || m.Role == "tool"
	}
	w.Header().Set("Content-Type", "text/event-stream")
	s := &chatStream{w: w, r: r}
	call, calls := hostileTools[name]
	switch {
	case calls && !used:
		s.call(0, call[0], strings.ReplaceAll(call[1], "SERVICE", service))
		s.end("tool_calls")
	case name == "endless":
		for s.text(strings.Repeat("x", 4<<10)) {
		}
	case name == "calls" && !used:
		for i := 0; i < 100_000 && s.call(i, "tree", `{"op":"not","arg":1}`); i++ {
		}
		s.end("tool_calls")
	case name == "indexes" && !used:
		s.call(1<<40, "tree", "{}")
		s.call(-1, "tree", "{}")
		s.end("tool_calls")
	default:
		answer, found := hostileAnswers[name]
		if !found {
			answer = `{"ok":true}`
		}
		for answer != "" {
			n := min(len(answer), 64<<10)
			if !s.text(answer[:n]) {
				return
			}
			answer = answer[n:]
		}
		s.end("stop")
	}
}

// chatStream writes events. Its methods return false once the client is gone.
type chatStream struct {
	w http.ResponseWriter
	r *http.Request
}

func (s *chatStream) event(delta string) bool {
	_, err := fmt.Fprintf(s.w, "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,%s}]}\n\n", delta)
	return err == nil && s.r.Context().Err() == nil
}

func (s *chatStream) text(text string) bool {
	quoted, _ := json.Marshal(text) //nolint:errchkjson // a string always encodes
	if strings.Contains(text, "\xff") {
		quoted = []byte(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	}
	return s.event(`"delta":{"content":` + string(quoted) + `}`)
}

func (s *chatStream) call(i int, tool, args string) bool {
	for first := true; first || args != ""; first = false {
		n := min(len(args), 64<<10)
		quoted, _ := json.Marshal(args[:n]) //nolint:errchkjson // a string always encodes
		head := ""
		if first {
			head = fmt.Sprintf(`"id":"call_%d","type":"function",`, i)
		}
		if !s.event(fmt.Sprintf(`"delta":{"tool_calls":[{"index":%d,%s"function":{"name":%q,"arguments":%s}}]}`, i, head, map[bool]string{true: tool}[first], quoted)) {
			return false
		}
		args = args[n:]
	}
	return true
}

func (s *chatStream) end(reason string) {
	s.event(fmt.Sprintf(`"delta":{},"finish_reason":%q`, reason))
	_, _ = io.WriteString(s.w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}\n\ndata: [DONE]\n\n")
}
