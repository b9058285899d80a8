package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// prompts compiles a spec and renders every job's prompt after the shared prefix, as workers do.
func prompts(t *testing.T, yaml string, files map[string]string) ([]string, error) {
	t.Helper()
	s, err := load(t, yaml, files, LoadOptions{})
	if err != nil {
		return nil, err
	}
	p, err := s.Prepare(t.Context())
	if err != nil {
		return nil, plain(err, s.dir())
	}
	wire, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(wire)
	require.NoError(t, err)
	var out []string
	for _, job := range payloads(t, p) {
		var payload Payload
		require.NoError(t, json.Unmarshal([]byte(job), &payload))
		if payload.Bad != "" {
			out = append(out, "bad: "+payload.Bad)
			continue
		}
		prompt, err := compiled.Prompt(payload.Input)
		require.NoError(t, err)
		if compiled.System != "" {
			prompt = compiled.System + " | " + prompt
		}
		out = append(out, prompt)
	}
	return out, nil
}

// spell writes a spec as JSON, which is also YAML.
func spell(t *testing.T, fields map[string]any) string {
	t.Helper()
	text, err := plainjson.Marshal(fields)
	require.NoError(t, err)
	return string(text)
}

func TestPlaceholdersUseFieldNamesOfTheData(t *testing.T) {
	t.Parallel()
	input := `{"Review Text":"lovely","user.name":"Bo","e-mail":"b@x.org","1st":"one","user":{"name":"nested","tags":["a",{"b":2}],"first name":"Al","x.y":7},` +
		`"text":"T","items":[{"title":"t0"},{"title":"t1"}],"café":"c","नाम":"n","größe":"L","n":12345678901234567890,"f":1e21,"d":0.1,"ok":true,"none":null,` +
		`"other":"{text}","$price":"5","a|b":"p","Text":"U","deep.er":{"e.f":{"g":1}},"a\"b":"q","line\nbreak":"lb"}`
	for task, want := range map[string]string{
		"{Review Text} by {user.name} <{e-mail}>":       "lovely by Bo <b@x.org>",
		"{1st} {$price} {a|b} {a\"b}":                   "one 5 p q",
		"{user.tags} {user.tags.0} {user.tags[1].b}":    `["a",{"b":2}] a 2`,
		"{user.first name} {user.x.y} {deep.er.e.f.g}":  "Al 7 1",
		"{items[1].title} {items.0.title} {items.0}":    `t1 t0 {"title":"t0"}`,
		"{café} {cafe\u0301} {नाम} {größe}":             "c c n L",
		"{n} {f} {d} {ok} {none}":                       "12345678901234567890 1e21 0.1 true null",
		"{other} {text} {Text}":                         "{text} T U",
		"{{Review Text}} and {Review Text}":             "{Review Text} and lovely",
		"{{text}} and {text}":                           "{text} and T",
		"{{{text}}} {text}":                             "{T} T",
		`{"a": {text}}`:                                 `{"a": T}`,
		`{"a": 1, "b": [{"c": {}}]} {text}`:             `{"a": 1, "b": [{"c": {}}]} T`,
		`\frac{a}{b} x^{k} y_{ij} \textbf{word} {text}`: `\frac{a}{b} x^{k} y_{ij} \textbf{word} T`,
		`\textbf{{text}} \emph{{{text}}} \n{text}`:      `\textbf{text} \emph{T} \nT`,
		"user_{n} v{n} Ticket #{n} ## {text}":           "user_12345678901234567890 v12345678901234567890 Ticket #12345678901234567890 ## T",
		"$x = text$ `$text` '%text%' 50%text% {n}":      "$x = text$ `$text` '%text%' 50%text% 12345678901234567890",
		"[text](u) [text] <text> @text {n} {other: x}":  "[text](u) [text] <text> @text 12345678901234567890 {other: x}",
		"```php\n$text = 1;\n``` {n}":                   "```php\n$text = 1;\n``` 12345678901234567890",
		"the \\$text or US$text and $$text$$ {n}":       "the \\$text or US$text and $$text$$ 12345678901234567890",
		"func f() { return x } {text} if (a) {b();}":    "func f() { return x } T if (a) {b();}",
		"{1} {1,3} {} {text} { } a{2}":                  "{1} {1,3} {} T { } a{2}",
		"{{unrelated}} {{ unrelated }} {text}":          "{unrelated} {{ unrelated }} T",
		"<text>{text}</text> $text %d%% {text}":         "<text>T</text> $text %d%% T",
		"{line\nbreak}":                                 "lb",
		"{risk: low|high} {text}":                       "{risk: low|high} T",
	} {
		got, err := prompts(t, spell(t, map[string]any{"task": task, "inputs": []json.RawMessage{json.RawMessage(input)}}), nil)
		require.NoError(t, err, task)
		assert.Equal(t, []string{want}, got, task)
	}
}

func TestMistakenPlaceholdersAreReported(t *testing.T) {
	t.Parallel()
	files := map[string]string{"in.jsonl": `{"text":"one","Review Text":"r","user":{"name":"a"},"price":5,"x":1}` + "\n" + `{"text":"two","Review Text":"s","user":{"name":"b"},"price":6,"x":2}` + "\n"}
	for task, want := range map[string]string{
		"Sum up {{text}}":               "{{text}} looks like a placeholder of another template language, and inputs have a field \"text\"; write {text}, or set literal: true if it is text. The first prompt would be:\n    Sum up {text}",
		"Sum up {{ text }}":             "{{ text }} looks like",
		"Sum up {{ text }} of {user}":   "{{ text }} looks like",
		"Sum up {{text|upper}} {user}":  "{{text|upper}} looks like",
		"Sum up {{- text -}} {user}":    "{{- text -}} looks like",
		"Sum up {{ .text }} {user}":     "{{ .text }} looks like",
		"Sum up {{ row.text }} {x}":     `and inputs have a field "text"`,
		"Sum up {{user.name}} {x}":      `and inputs have a field "user"`,
		"Sum up {{{ text }}} {user}":    "nearly {text}",
		"Sum up {{Review Text}}":        "{{Review Text}} looks like",
		`{"a": {{text}}}`:               "looks like a placeholder",
		"{% if text %}x{% endif %} {x}": "{% if text %} looks like",
		"Sum up ${text}":                "${text} looks like a placeholder of another template language, and inputs have a field \"text\"; write {text}, or set literal: true if it is text. The first prompt would be:\n    Sum up $one",
		"Sum up %(text)s":               "%(text)s looks like",
		"Price %(price).2f {x}":         "%(price).2f looks like",

		"Sum up { text }":        `{ text } is the name of no field, and nearly {text}; write {text}, or set literal: true to keep it as text`,
		"Sum up {review text}":   `nearly {Review Text}`,
		"Sum up {Reveiw Text}":   `nearly {Review Text}`,
		"Sum up {Review-Text}":   `nearly {Review Text}`,
		"Sum up {text!r}":        `nearly {text}`,
		"Price {price:.2f}":      `nearly {price}`,
		"{user.nmae} {x}":        `nearly {user.name}`,
		"{user.nme} {x}":         `nearly {user.name}`,
		"{usr.name} {x}":         `nearly {user.name}`,
		"{user.other} {x}":       `nearly {user}`,
		"{user.name.first} {x}":  `nearly {user.name}`,
		"{user[name]} {x}":       `nearly {user.name}`,
		`{user["name"]} {x}`:     `nearly {user.name}`,
		"{user['name']} {x}":     `nearly {user.name}`,
		"{user->name} {x}":       `nearly {user.name}`,
		"{user?.name} {x}":       `nearly {user.name}`,
		"{user::name} {x}":       `nearly {user.name}`,
		"{user/name} {x}":        `nearly {user.name}`,
		"{user:name} {x}":        `nearly {user.name}`,
		`{user.get("name")} {x}`: `nearly {user.name}`,
		"{text.upper()} {x}":     `nearly {text}`,
		"{text[:100]} {x}":       `nearly {text}`,
		"{len(text)} {x}":        `nearly {text}`,
		"{row['text']} {x}":      `nearly {text}`,
		"{input[text]} {x}":      `nearly {text}`,
		"{$text} {x}":            `nearly {text}`,

		"Say $text {x}":                "$text looks like",
		"Say $text, then {x}":          "write {text}",
		"Say $user.name. {x}":          "write {user.name}",
		"From $text to $price {x}":     "$text looks like",
		"Say $(text) {x}":              "$(text) looks like",
		"Say <%= text %> {x}":          "<%= text %> looks like",
		"Say <% user.name -%> {x}":     "write {user.name}",
		"Say <?= $text ?> {x}":         "<?= $text ?> looks like",
		"Say <?php echo $text; ?> {x}": "<?php echo $text; ?> looks like",
		"Say [% text %] {x}":           "[% text %] looks like",
		"Say [[text]] {x}":             "[[text]] looks like",
		"Say [[ user.name ]] {x}":      "write {user.name}",
		"Say %text% {x}":               "%text% looks like",
		"Say #{text} {x}":              "#{text} looks like",
		"Say %{text} {x}":              "%{text} looks like",
		"Say #{user.name} {x}":         "#{user.name} looks like",
		"Say {{{text}}} {x}":           "{{{text}}} looks like",
		"Say {{{user.name}}} {x}":      "{{{user.name}}} looks like",
		"Say {{user['name']}} {x}":     "write {user.name}",
		"Say {{user->name}} {x}":       "write {user.name}",
		"Say {%text%} {x}":             "nearly {text}",
		`\textbf{text} {x}`:            `write {{{text}}} for its value in braces, {{text}} for the text, or {text} after a space`,
		`\frac{text}{price} {x}`:       `\frac{text} is a LaTeX command`,
		"{user[0]} {x}":                `nearly {user}`,
		"{txet}":                       `no input has a field "txet"; the nearest name is "text"`,
		"{Text}":                       `no input has a field "Text"; the nearest name is "text"`,
		`\textbf{Text} {x}`:            `nearly {text}`,
		"Write a poem":                 "no field of the inputs occurs in the task, so all 2 jobs would have the same prompt; write the name of a field in braces: {Review Text}, {price}, {text}, {user}, {x}. If that is intended, set literal: true. The first prompt would be:\n    Write a poem",
		"Sum up <text>":                "(<text> is text here)",
		"Sum up $text":                 "$text looks like",
		"Return {\"risk\": \"\"}":      "no field of the inputs occurs in the task",
	} {
		_, err := prompts(t, spell(t, map[string]any{"task": task, "inputs": "in.jsonl"}), files)
		require.Error(t, err, task)
		assert.Contains(t, err.Error(), want, task)
		assert.True(t, strings.HasPrefix(err.Error(), "batch.yaml:1: field task: "), err.Error())
		if strings.Contains(want, "no input has") {
			continue
		}
		_, err = prompts(t, spell(t, map[string]any{"task": task, "inputs": "in.jsonl", "literal": true}), files)
		assert.NoError(t, err, task)
	}
}

func TestLiteralReplacesOnlyFields(t *testing.T) {
	t.Parallel()
	for task, want := range map[string]string{
		"{text} {{text}} { text } ${text}":       "T {{text}} { text } $T",
		"{unknown} {{unknown}} {a.b} {{ text }}": "{unknown} {{unknown}} {a.b} {{ text }}",
		"{user.name} {user.nmae}":                "B {user.nmae}",
		"plain":                                  "plain",
	} {
		got, err := prompts(t, spell(t, map[string]any{"task": task, "literal": true, "inputs": []any{map[string]any{"text": "T", "user": map[string]any{"name": "B"}}}}), nil)
		require.NoError(t, err, task)
		assert.Equal(t, []string{want}, got, task)
	}
}

func TestTaskWithoutFieldsNeedsEqualInputs(t *testing.T) {
	t.Parallel()
	for inputs, want := range map[string]bool{
		"[{x: 1}]": true, "[{x: 1}, {x: 1}]": true, "[a, a, a]": true, "[{x: 1}, {x: 2}]": false, "[a, b]": false, "'*.md'": false,
	} {
		_, err := prompts(t, "task: Write a poem\ninputs: "+inputs+"\n", map[string]string{"a.md": "", "b.md": ""})
		assert.Equal(t, want, err == nil, "%s: %v", inputs, err)
	}
}

func TestFieldWinsOverSchemaPlaceholder(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","properties":{"a":{"type":"string"}}}`
	one := []map[string]any{{"schema": "CREATE TABLE t(a int)", "q": "1"}, {"schema": "CREATE TABLE u(a int)", "q": "2"}}
	for name, tc := range map[string]struct {
		system, task string
		inputs       any
		want, err    string
	}{
		"the field": {"", "{schema} {q}", one, schemaInstruction + schema + " | CREATE TABLE t(a int) 1", ""},
		"both":      {"Answer as {output_schema}.", "{schema} {q}", one, "Answer as " + schema + ". | CREATE TABLE t(a int) 1", ""},
		"no field":  {"Answer as {schema}.", "{q}", []any{map[string]any{"q": 1}}, "Answer as " + schema + ". | 1", ""},
		"long name": {"", "{q} {output_schema}", []any{map[string]any{"q": 1}}, "1 " + schema, ""},
		"some inputs": {"", "{schema} {q}", []any{one[0], map[string]any{"q": 1}}, "",
			`only some inputs have a field "schema", so {schema} could be the field or the output schema; for the output schema write {output_schema}`},
		"varies in the system prompt": {"{schema}", "{q}", one, "", `inputs have a field "schema" that varies`},
		"both prompts":                {"{schema}", "{schema} {q}", one[:1], "", `both prompts have {schema}; for the output schema write {output_schema}`},
		"a field of the long name":    {"", "{output_schema} {q}", []any{map[string]any{"q": 1, "output_schema": 2}}, "", "rename the field"},
		"twice":                       {"{schema} {schema}", "{q}", []any{map[string]any{"q": 1}}, "", "{schema} may occur only once in the two prompts"},
		"under both names":            {"{schema}", "{output_schema}", []any{map[string]any{"q": 1}}, "", "{output_schema} may occur only once in the two prompts"},
	} {
		fields := map[string]any{"task": tc.task, "inputs": tc.inputs, "output_schema": json.RawMessage(schema)}
		if tc.system != "" {
			fields["system_prompt"] = tc.system
		}
		got, err := prompts(t, spell(t, fields), nil)
		if tc.err != "" {
			require.Error(t, err, name)
			assert.Contains(t, err.Error(), tc.err, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, tc.want, got[0], name)
	}
}

func TestFieldMissingOrNewInLaterInput(t *testing.T) {
	t.Parallel()
	files := map[string]string{"in.jsonl": `{"a":1,"u":{"n":1}}` + "\n" + `{"a":2,"My Field":"m","u":null}` + "\n" + `{"a":3,"My Field":null,"u":{"n":2}}` + "\n"}
	for task, want := range map[string][]string{
		"{My Field} {a}": {"bad: in.jsonl:1: the input has no value for {My Field}", "m 2", "null 3"},
		"{u.n} {a}":      {"1 1", "bad: in.jsonl:2: the input has no value for {u.n}", "2 3"},
		"{u} {a}":        {`{"n":1} 1`, "null 2", `{"n":2} 3`},
	} {
		_, err := prompts(t, spell(t, map[string]any{"task": task, "inputs": "in.jsonl"}), files)
		if !strings.Contains(task, "{u} ") {
			require.ErrorContains(t, err, "the input has no value for {", task)
		}
		got, err := prompts(t, spell(t, map[string]any{"task": task, "inputs": "in.jsonl", "on_bad_input": "skip"}), files)
		require.NoError(t, err)
		for i := range got {
			head, tail, found := strings.Cut(got[i], "/in.jsonl")
			if found && strings.HasPrefix(head, "bad: ") {
				got[i] = "bad: in.jsonl" + tail
			}
		}
		assert.Equal(t, want, got, task)
	}
	_, err := prompts(t, spell(t, map[string]any{"task": "{u.n}", "inputs": []any{map[string]any{"u.n": 1}, map[string]any{"u": map[string]any{"n": 2}}}}), nil)
	require.ErrorContains(t, err, `some inputs have a field "u.n", and others a path of this name; rename the field`)
}

func TestNonIdentifierNamesAreHoisted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("be fair ", 30)
	inputs := []any{map[string]any{"id": 1, "House Rules": long, "House_Rules": "u", "m": map[string]any{"lang": "en"}}, map[string]any{"id": 2, "House Rules": long, "House_Rules": "v", "m": map[string]any{"lang": "en"}}}
	p, err := compile(t, spell(t, map[string]any{"system_prompt": "Speak {m.lang}.", "task": "{id} {m.lang} by {House Rules} {House_Rules}", "inputs": inputs}), nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, "Speak en.\n\n<House_Rules_2>\n"+long+"\n</House_Rules_2>", p.Jobs.System)
	assert.Equal(t, "{id} en by [the text in <House_Rules_2> above] {House_Rules}", p.Jobs.Task)
	assert.Equal(t, []string{`{"in":{"House_Rules":"u","id":1}}`, `{"in":{"House_Rules":"v","id":2}}`}, payloads(t, p))
	_, err = compile(t, spell(t, map[string]any{"system_prompt": "Speak {m.lang}.", "task": "{id}", "inputs": []any{map[string]any{"id": 1, "m": map[string]any{"lang": "en"}}, map[string]any{"id": 2, "m": map[string]any{"lang": "de"}}}}), nil, LoadOptions{})
	require.ErrorContains(t, err, "{m.lang} is not the same in every input, and the system prompt is shared by all jobs")
}

func TestPlanItemsUseTheSameNames(t *testing.T) {
	t.Parallel()
	const schema = `{type: object, required: [items], properties: {items: {type: array, items: {type: object, properties: {"Sub Topic": {type: string}, who: {type: object}}}}}}`
	p := planned(t, "task: \"{Sub Topic} {who.name} {item.who.name}\"\nplan: {task: a, output_schema: "+schema+"}\n")
	assert.Equal(t, "{Sub_Topic} {who_name} {item_who_name}", p.Jobs.Task)
	jobs, err := p.Planner.Items(json.RawMessage(`{"items":[{"Sub Topic":"s","who":{"name":"Bo"}},{"who":{}}]}`))
	require.NoError(t, err)
	wire, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(wire)
	require.NoError(t, err)
	var job Payload
	require.NoError(t, json.Unmarshal(jobs[0], &job))
	prompt, err := compiled.Prompt(job.Input)
	require.NoError(t, err)
	assert.Equal(t, "s Bo Bo", prompt)
	require.NoError(t, json.Unmarshal(jobs[1], &job))
	_, err = compiled.Prompt(job.Input)
	require.ErrorContains(t, err, `the input has no field "`)

	for text, want := range map[string]string{
		"task: \"{sub topic}\"\nplan: {task: a, output_schema: " + schema + "}\n":   "nearly {Sub Topic}",
		"task: \"{{item}}\"\nplan: {task: a}\n":                                     "{{item}} looks like a placeholder of another template language",
		"task: Do it\nplan: {task: a}\n":                                            "no field of the plan's items occurs in the task",
		"task: \"{item}\"\nplan: {task: \"At most {{max_items}}\"}\n":               "{{max_items}} looks like",
		"task: \"{item}\"\nplan: {task: \"{ max_items }\"}\n":                       "nearly {max_items}",
		"task: \"{x}\"\ninputs: [{x: 1}]\nreduce: {task: \"All: {{results}}\"}\n":   "field reduce.task: {{results}} looks like",
		"task: \"{x}\"\ninputs: [{x: 1}]\nreduce: {task: \"All: { results }\"}\n":   "nearly {results}",
		"task: \"{x}\"\ninputs: [{x: 1}]\nreduce: {task: \"{results} {result}\"}\n": "the task of a reduction has {results} and {n}, not {result}",
	} {
		_, err := load(t, text, nil, LoadOptions{})
		require.ErrorContains(t, err, want, text)
		_, err = load(t, text+"literal: true\n", nil, LoadOptions{})
		assert.NoError(t, err, text)
	}
}

func FuzzPlacement(f *testing.F) {
	for _, s := range []string{"{a}", "{{a b}}", "{a b} {a.b}", "${x}", `\b{a}`, "{{ a }}", "{a[0]}", "{schema}", "{\xff}", "{a\n}", "{{{a b}}}}"} {
		f.Add(s, "a b", "{a}")
	}
	f.Fuzz(func(t *testing.T, task, field, value string) {
		task, field, value = strings.ToValidUTF8(task, ""), strings.ToValidUTF8(field, ""), strings.ToValidUTF8(value, "")
		if strings.TrimSpace(task) == "" || len(task)+len(field)+len(value) > 1<<12 {
			t.Skip("no task, or size that adds nothing")
		}
		input, err := plainjson.Marshal(map[string]any{field: value, "a": map[string]any{"b": value + "2"}})
		require.NoError(t, err)
		s, err := parse("f.json", []byte(mustSpell(map[string]any{"task": "x" + task, "literal": true, "inputs": []json.RawMessage{input}})), LoadOptions{}, true)
		if err != nil {
			t.Skip("the reader of the spec refuses it")
		}
		p, err := s.Prepare(t.Context())
		if err != nil {
			t.Skip("the name is not usable")
		}
		in, _, err := decodeFields([]byte(input))
		require.NoError(t, err)
		for job, err := range p.Payloads(t.Context()) {
			require.NoError(t, err)
			var payload Payload
			require.NoError(t, json.Unmarshal(job, &payload))
			got, err := p.Jobs.Prompt(payload.Input)
			require.NoError(t, err)
			require.Equal(t, slowLiteral(s.task.text, in), got)
		}
	})
}

func mustSpell(fields map[string]any) string {
	text, err := plainjson.Marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("encode a spec: %v", err))
	}
	return string(text)
}

// slowLiteral renders a prompt with literal: true directly from the rule: the name of a field is a placeholder if an odd
// number of pairs of braces encloses it, and all other text is kept.
func slowLiteral(text string, in map[string]any) string {
	var b strings.Builder
	for _, p := range parseWording(text) {
		value, _, ok := lookup(in, p.name)
		if !ok || !p.places() {
			b.WriteString(p.text)
			continue
		}
		shown, _ := appendValue(nil, value)
		b.WriteString(strings.Repeat("{", p.open-p.pairs()+p.pairs()/2))
		b.Write(shown)
		b.WriteString(strings.Repeat("}", p.shut-p.pairs()+p.pairs()/2))
	}
	return b.String()
}

func TestWordingPiecesJoinToPrompt(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "}", "{}", "{a}", "{a{b}c}", "{{a}", "x{a b}y{{c}}z", "{\n}", "{a}{b}", strings.Repeat("{", 50) + "a" + strings.Repeat("}", 50)} {
		var b strings.Builder
		for _, p := range parseWording(text) {
			b.WriteString(p.text)
		}
		assert.Equal(t, text, b.String())
	}
}
