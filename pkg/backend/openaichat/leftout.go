package openaichat

import (
	"errors"
	"hash/fnv"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// Parts of a request that a server may refuse, beside the fields of the same name.
const (
	partStreamOptions = "stream_options"
	partTemperature   = "temperature"
	partTopP          = "top_p"
	partSeed          = "seed"
	partStop          = "stop"
	partZero          = "temperature of 0"
	partLimitName     = "name of the token limit" // the other name is used
	partStrictTools   = "strict tools"
	partStrictSchema  = "strict response_format"
	partSchema        = "response_format of type json_schema" // json_object is used
	partFormat        = "response_format"
	partToolChoice    = "tool_choice"
	partSystem        = "system role" // its text is added to the first user message
)

// besideTools marks a part that is refused in requests with tools, and perhaps accepted without them.
const besideTools = " beside tools"

// leastTemperature replaces a temperature of 0 at servers that accept only positive ones: the likeliest token stays far ahead.
const leastTemperature = 0.01

// formatPart returns the name of a level of response_format for a request.
func formatPart(part string, r *backend.Request) string {
	if len(r.Tools) > 0 {
		return part + besideTools
	}
	return part
}

// parts are the parts to omit in one call. Concurrent calls may record further ones meanwhile.
type parts map[string]bool

// schemaPart returns the name of one schema among the refused parts. A server may accept other schemas.
func schemaPart(r *backend.Request) string {
	h := fnv.New64a()
	_, _ = h.Write(r.Schema.JSON) // never fails
	return partSchema + " " + strconv.FormatUint(h.Sum64(), 36)
}

// withoutSchema reports whether the request asks for any JSON object instead of one that matches the schema.
func withoutSchema(r *backend.Request, without parts) bool {
	return r.Schema.JSON == nil || len(without) > 0 && (without[formatPart(partSchema, r)] || without[schemaPart(r)])
}

// adapted returns a request without the parts, as far as a request expresses them. leftOut names the omitted sampling
// fields that the user set.
func adapted(r *backend.Request, without parts) (call *backend.Request, leftOut []string) {
	if len(without) == 0 {
		return r, nil
	}
	out := *r
	has := func(part string) bool { return without[part] }
	s := &out.Sampling
	drop := func(part string, set bool, clear func()) {
		if set && has(part) {
			clear()
			leftOut = append(leftOut, part)
		}
	}
	drop(partTemperature, s.Temperature != nil, func() { s.Temperature = nil })
	drop(partTopP, s.TopP != nil, func() { s.TopP = nil })
	drop(partSeed, s.Seed != nil, func() { s.Seed = nil })
	drop(partStop, len(s.Stop) > 0, func() { s.Stop = nil })
	if s.Temperature != nil && *s.Temperature == 0 && has(partZero) {
		least := leastTemperature
		s.Temperature = &least
	}
	if out.Schema != nil && !out.Schema.Loose && has(partStrictSchema) {
		schema := *out.Schema
		schema.Loose = true
		out.Schema = &schema
	}
	if out.SendsSchema() && has(formatPart(partFormat, r)) {
		out.Schema = nil
	}
	if has(partToolChoice) && out.ToolChoice == backend.ToolChoiceNone {
		out.Tools = nil // the only other way to prevent calls
	}
	if has(partStrictTools) && strictTools(&out) {
		out.Tools = slices.Clone(out.Tools)
		for i := range out.Tools {
			out.Tools[i].Strict = false
		}
	}
	if has(partSystem) {
		out.Messages = withoutSystem(out.Messages)
	}
	return &out, leftOut
}

func strictTools(r *backend.Request) bool {
	return slices.ContainsFunc(r.Tools, func(t backend.Tool) bool { return t.Strict })
}

// after returns a message with a text before its content.
func after(text string, m backend.Message) backend.Message {
	switch {
	case text == "":
	case len(m.Parts) > 0:
		m.Parts = slices.Insert(slices.Clone(m.Parts), 0, backend.Part{Text: text})
	default:
		m.Content = text + m.Content
	}
	return m
}

// withoutSystem moves the text of leading system messages to the start of the first user message.
func withoutSystem(in []backend.Message) []backend.Message {
	text := ""
	for i, m := range in {
		switch m.Role {
		case backend.RoleSystem:
			text += m.Text() + "\n\n"
			continue
		case backend.RoleUser:
			out := slices.Clone(in[i:])
			out[0] = after(text, m)
			return out
		}
		break
	}
	if text == "" {
		return in
	}
	rest := slices.DeleteFunc(slices.Clone(in), func(m backend.Message) bool { return m.Role == backend.RoleSystem })
	return append([]backend.Message{{Role: backend.RoleUser, Content: strings.TrimSpace(text)}}, rest...)
}

var (
	// outOfRange are phrases about a bad value of a supported field.
	outOfRange = regexp.MustCompile(`must be|should be|between|less than|greater than|at most|at least|too (?:large|small|many|long|high|low)|out of range|(?:above|below) (?:the )?(?:max|min)|exceed|max(?:imum)? value|min(?:imum)? value|<=|>=|≤|≥`)
	// notTaken are phrases about an unsupported field.
	notTaken = regexp.MustCompile(`support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|not allowed|unavailable|only the default|only 1|must be (?:set to )?1(?:\.0)?\b|invalid schema|invalid json schema`)
	// overLimit are phrases about a number above the server's maximum.
	overLimit = regexp.MustCompile(`too (?:large|high|big)|at most \d|less than or equal to \d|(?:<=|≤) ?\d`)
	positive  = regexp.MustCompile(`positive|greater than (?:0|zero)|> ?0|non-?zero|cannot be (?:0|zero)|can't be (?:0|zero)`)
	// aboutSystem are phrases about the role of a message.
	aboutSystem = regexp.MustCompile(`system['"` + "`" + `]? (?:role|message|prompt|instruction)|role[^.]{0,40}\bsystem\b|support ['"` + "`" + `]?system|developer instruction|roles must alternate`)
	// aboutFormat are phrases about the format of an answer.
	aboutFormat = regexp.MustCompile(`response_?format|json_schema|json_object|json mode|structured output|guided_?(?:json|decoding)|output_format|json schema|grammar`)
	// aboutOneSchema are phrases about the content of a schema.
	aboutOneSchema = regexp.MustCompile(`(?:invalid|unsupported) (?:json )?schema|schema[^.]{0,40}(?:features?|keyword|contains|context=|invalid)|grammar`)
)

// refusedPart returns the refused part of a request if the call can be made without it, and otherwise "". The field's
// name in the error decides, because each server has its own wording.
func (c *Client) refusedPart(r *backend.Request, without parts, err error) string {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok {
		return ""
	}
	refusal, _ := errors.AsType[Refusal](err)
	words := strings.ToLower(refusal.Message)
	coded := strings.HasPrefix(refusal.Code, "unsupported_") || strings.HasPrefix(refusal.Code, "unknown_")
	gone := coded || notTaken.MatchString(words)
	switch {
	case e.Class == backend.InvalidRequest && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity ||
		e.Status == http.StatusNotImplemented || e.Status == http.StatusOK || e.Status == http.StatusNotFound):
	case e.Class == backend.Transient && e.Status == http.StatusInternalServerError && endpoint.Mentions(words, "unexpected keyword argument"):
	default:
		return ""
	}
	m := mention{refusal, words}
	s := r.Sampling
	bad := outOfRange.MatchString(words) && !gone
	for _, f := range c.extraFields(r, without) {
		if m.names(f.Name) {
			return f.Name
		}
	}
	if member := refusedMember(r, without, m); gone && member != "" {
		return member
	}
	switch {
	case m.names(partStreamOptions) && !without[partStreamOptions]:
		return partStreamOptions
	case s.Temperature != nil && *s.Temperature == 0 && m.names(partTemperature) && positive.MatchString(words):
		return partZero
	case s.Temperature != nil && m.names(partTemperature) && !bad:
		return partTemperature
	case s.TopP != nil && m.names(partTopP) && !bad:
		return partTopP
	case s.Seed != nil && m.names(partSeed) && !bad:
		return partSeed
	case s.MaxTokens > 0 && m.names(c.limitName(r, without)) && !without[partLimitName] && !bad && !overLimit.MatchString(words):
		return partLimitName
	case len(r.Tools) > 0 && r.ToolChoice != backend.ToolChoiceRequired && !without[partToolChoice] &&
		(m.names(partToolChoice) || strings.Contains(words, "tool choice")):
		return partToolChoice
	case r.SendsSchema() && (aboutFormat.MatchString(words) || m.names(partFormat)):
		return c.refusedFormat(r, without, m)
	case strictTools(r) && (m.quotes("strict") || m.named("tools") || strings.Contains(words, "schema for function")):
		if c.dialect.StrictForms {
			return ""
		}
		return partStrictTools
	case len(s.Stop) > 0 && m.quotes(partStop) && !bad:
		return partStop
	case len(r.Messages) > 0 && r.Messages[0].Role == backend.RoleSystem && aboutSystem.MatchString(words):
		return partSystem
	}
	return ""
}

// refusedFormat returns the level of response_format that a server refuses: strict, of type json_schema, or any.
func (c *Client) refusedFormat(r *backend.Request, without parts, m mention) string {
	switch {
	case withoutSchema(r, without):
		return formatPart(partFormat, r)
	case !r.Schema.Loose && c.dialect.StrictForms && strings.Contains(m.words, "schema") && m.Param != "" && !strings.Contains(m.words, "json_schema"):
		return "" // the adapter has another form of the schema
	case !r.Schema.Loose && m.quotes("strict"):
		return partStrictSchema
	case aboutOneSchema.MatchString(m.words):
		return schemaPart(r)
	}
	return formatPart(partSchema, r)
}

// mention searches a refusal for names of fields.
type mention struct {
	Refusal
	words string // the message in lower case
}

// named reports whether the error's parameter or a validator names a field.
func (m mention) named(field string) bool {
	p := strings.ToLower(m.Param)
	return p == field || strings.HasPrefix(p, field+".") || strings.HasPrefix(p, field+"[") || strings.HasSuffix(p, "."+field) ||
		slices.Contains(m.Fields, field)
}

// names reports whether the error contains a field's name anywhere, as a separate word.
func (m mention) names(field string) bool {
	if m.named(field) {
		return true
	}
	for rest := m.words; ; {
		i := strings.Index(rest, field)
		if i < 0 {
			return false
		}
		end := i + len(field)
		if (i == 0 || !isWord(rest[i-1])) && (end == len(rest) || !isWord(rest[end])) {
			return true
		}
		rest = rest[end:]
	}
}

// quotes reports whether the error names a field whose name is also an ordinary word. The name must be in quotes or
// next to a word such as "not".
func (m mention) quotes(field string) bool {
	if m.named(field) {
		return true
	}
	for _, q := range []string{"'", `"`, "`"} {
		if strings.Contains(m.words, q+field+q) {
			return true
		}
	}
	return m.names(field) && endpoint.Mentions(m.words, field+" is not", field+" not ", ": "+field, "parameter "+field, "argument "+field,
		"field "+field, "property "+field, "unsupported "+field, "."+field)
}

func isWord(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z'
}

// leaveOut records that a server refuses a part of requests, and logs it the first time.
func (c *Client) leaveOut(model, part string) {
	if !c.refused.Add(model, part) {
		return
	}
	attrs := []any{"endpoint", c.url.Shown, "model", model, "what", part}
	if strings.HasPrefix(part, partSchema+" ") && part != partSchema+besideTools {
		c.log.Warn("the server refuses the schema of an answer; it is left out from now on: any JSON object is requested, and answers are checked here", attrs...)
		return
	}
	switch part {
	case partTemperature, partTopP, partSeed, partStop:
		c.log.Warn("the model refuses a sampling field of the spec; it is left out from now on, and results name it in left_out", attrs...)
	case partSchema, partSchema + besideTools:
		c.log.Warn("the server refuses a JSON schema; it is left out from now on: any JSON object is requested, and answers are checked here", attrs...)
	case partFormat, partFormat + besideTools:
		c.log.Warn("the server cannot enforce JSON; response_format is left out from now on, and answers are checked here", attrs...)
	default:
		c.log.Warn("the server refuses a part of the request; it is left out from now on", attrs...)
	}
}
