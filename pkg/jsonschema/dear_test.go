package jsonschema

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// join writes n texts of a format with one number, separated by commas.
func join(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
	}
	return strings.Join(parts, ",")
}

func object1(name, members string) string { return fmt.Sprintf("{%q:{%s}}", name, members) }

// items makes an array of n equal values.
func items(n int, value string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(value+",", n), ",") + "]"
}

// levels makes definitions of which each lists the next one width times under a keyword.
func levels(depth, width int, keyword, last string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `"l%d":%s`, depth, last)
	for i := range depth {
		ref := fmt.Sprintf(`{"$ref":"#/$defs/l%d"}`, i+1)
		fmt.Fprintf(&b, `,"l%d":{%q:%s}`, i, keyword, items(width, ref))
	}
	return b.String()
}

type dearPair struct{ schema, value string }

// dearPairs are schemas and values of which single steps could cost much.
func dearPairs() map[string]dearPair {
	manyNeeds := join(60_000, `"n%d":[]`)
	long := strings.Repeat("x", 400_000)
	return map[string]dearPair{
		"dependentRequired of many names":    {object1("items", `"dependentRequired":{`+manyNeeds+`}`), items(200_000, "{}")},
		"dependentSchemas":                   {object1("items", `"dependentSchemas":{`+join(19_000, `"n%d":true`)+`}`), items(200_000, "{}")},
		"items true in many branches":        {`{"allOf":` + items(19_000/2, `{"items":true}`) + `}`, items(500_000, "1")},
		"items false under not":              {`{"allOf":` + items(9_000, `{"prefixItems":[true,true]}`) + `}`, items(500_000, "1")},
		"contains true in many branches":     {`{"allOf":` + items(9_000, `{"contains":true}`) + `}`, items(500_000, "1")},
		"unevaluatedItems in many branches":  {`{"allOf":` + items(9_000, `{"unevaluatedItems":true}`) + `}`, items(500_000, "1")},
		"unevaluatedProperties in many":      {`{"allOf":` + items(9_000, `{"unevaluatedProperties":true}`) + `}`, `{` + join(100_000, `"p%d":1`) + `}`},
		"minLength in many branches":         {`{"allOf":` + items(15_000, `{"minLength":1}`) + `}`, `"` + strings.Repeat("ä", 2_000_000) + `"`},
		"const in many branches":             {`{"anyOf":` + items(15_000, `{"const":"x"}`) + `}`, `"` + strings.Repeat("y", 4_000_000) + `"`},
		"unique in many branches":            {`{"allOf":` + items(15_000, `{"uniqueItems":true}`) + `}`, "[" + join(200_000, "%d") + "]"},
		"unique arrays in arrays":            {`{"uniqueItems":true,"items":{"$ref":"#"}}`, strings.Repeat("[1,", 8_000) + "1" + strings.Repeat("]", 8_000)},
		"required of many names":             {object1("items", `"required":[`+join(60_000, `"n%d"`)+`]`), items(100_000, "{}")},
		"discriminated through wide allOf":   {`{"anyOf":[{"$ref":"#/$defs/l0"},{"$ref":"#/$defs/l0"}],"$defs":{` + levels(8, 40, "allOf", `{"required":["b"]}`) + `}}`, `{"a":1}`},
		"types through wide allOf":           {`{"anyOf":[{"allOf":[{"$ref":"#/$defs/l0"},{"type":"string"}]},{"type":"string"}],"$defs":{` + levels(8, 40, "allOf", `{"minLength":1}`) + `}}`, `{"a":1}`},
		"types through wide anyOf":           {`{"anyOf":[{"$ref":"#/$defs/l0"},{"type":"string"}],"$defs":{` + levels(8, 40, "anyOf", `{"type":"string"}`) + `}}`, `{"a":1}`},
		"chain of not":                       {`{"$ref":"#/$defs/l0","$defs":{` + join(9_000, `"x%d":{"not":{"$ref":"#/$defs/end"}}`) + `,"end":{"not":{}},"l0":{"not":{"$ref":"#/$defs/x0"}}}}`, "1"},
		"if in levels":                       {`{"$ref":"#/$defs/l0","$defs":{"l300":{"type":"string"},` + join(300, `"l%d":{"if":{"$ref":"#/$defs/m%d"},"then":{"$ref":"#/$defs/m%d"},"else":{"$ref":"#/$defs/m%d"}}`) + "," + joinNext(300, `"m%d":{"$ref":"#/$defs/l%n"}`) + `}}`, "1"},
		"dependentSchemas in levels":         {`{"$ref":"#/$defs/l0","$defs":{"l300":{"type":"string"},` + joinNext(300, `"l%d":{"dependentSchemas":{"a":{"$ref":"#/$defs/l%n"},"b":{"$ref":"#/$defs/l%n"}}}`) + `}}`, `{"a":1,"b":1}`},
		"unevaluated in levels":              {`{"$ref":"#/$defs/l0","$defs":{"l300":{"type":"string"},` + joinNext(300, `"l%d":{"anyOf":[{"$ref":"#/$defs/l%n"},{"$ref":"#/$defs/l%n"}],"unevaluatedProperties":{"$ref":"#/$defs/l%n"}}`) + `}}`, `{"a":{"a":{"a":1}},"b":{"b":1}}`},
		"dynamic reference in a tree":        {`{"$dynamicAnchor":"n","type":"object","properties":{"arg":{"oneOf":[{"$dynamicRef":"#n"},{"allOf":[{"$dynamicRef":"#n"}],"required":["x"]}]}},"additionalProperties":{"$dynamicRef":"#n"}}`, nested(2_000, "1")},
		"pattern just below its time":        {`{"items":{"pattern":"^(?=a)(a+)+$"}}`, items(3_000, `"`+strings.Repeat("a", 19)+`!"`)},
		"patterns of names below their time": {`{"patternProperties":{"^(?=a)(a+)+$":{}}}`, `{` + join(3_000, `"`+strings.Repeat("a", 18)+`!%d":1`) + `}`},
		"many patterns of many names":        {`{"patternProperties":{` + join(990, `"^%d[a-z]*(x|y)+$":{}`) + `}}`, `{` + join(30_000, `"n%d":1`) + `}`},
		"large program over long texts":      {`{"items":{"pattern":"(` + strings.Repeat("[a-z]*x?", 200) + `)z$"}}`, items(40, `"`+strings.Repeat("ab", 20_000)+`"`)},
		"nested repeats":                     {`{"items":{"pattern":"^((a{0,30}){0,30})$"}}`, items(300, `"`+strings.Repeat("a", 20_000)+`!"`)},
		"long number and many bounds":        {`{"allOf":` + items(9_000, `{"maximum":1e300}`) + `}`, strings.Repeat("7", 1_000_000)},
		"long number of many multiples":      {`{"allOf":` + items(5_000, `{"multipleOf":7}`) + `}`, strings.Repeat("7", 1_000_000)},
		"multiple of 1000 digits":            {`{"multipleOf":` + strings.Repeat("3", 1_000) + `}`, strings.Repeat("7", 1_000_000)},
		"many numbers of large exponents":    {`{"items":{"multipleOf":` + strings.Repeat("3", 900) + `}}`, items(100_000, "1e1000000000")},
		"many long numbers are integers":     {`{"allOf":` + items(9_000, `{"type":"integer"}`) + `}`, strings.Repeat("7", 1_000_000)},
		"anchors below a long $id":           {`{"$id":"http://h/` + long + `/","$defs":{` + join(9_000, `"d%d":{"$anchor":"a%d"}`) + `},"type":"string"}`, "1"},
		"identities below a long $id":        {`{"$id":"http://h/` + long + `/","$defs":{` + join(9_000, `"d%d":{"$id":"a%d"}`) + `},"type":"string"}`, "1"},
		"references below a long $id":        {`{"$id":"http://h/` + long + `/","allOf":` + items(15_000, `{"$ref":"#/$defs/d"}`) + `,"$defs":{"d":{"type":"string"}}}`, "1"},
		"references into a wide object":      {`{"allOf":` + items(15_000, `{"$ref":"#/x/n59999"}`) + `,"x":{` + join(60_000, `"n%d":{}`) + `},"type":"string"}`, "1"},
		"unknown keywords":                   {`{"type":"string",` + join(60_000, `"propertie%d":1`) + `}`, "1"},
		"long unknown keywords":              {`{"type":"string",` + join(20, `"`+strings.Repeat("propertie", 5_000)+`%d":1`) + `}`, "1"},
		"many unknown names of a $ref":       {`{"allOf":[` + join(15_000, `{"$ref":"#/$defs/n%d"}`) + `],"$defs":{"a":{}}}`, "1"},
		"enum of many values":                {`{"enum":[` + join(100_000, "%d") + `]}`, items(100_000, "1")},
		"enums of many values under items":   {object1("items", `"enum":[`+join(90_000, `"e%d"`)+`]`), items(200_000, `"x"`)},
		"enum of deep values":                {`{"items":{"enum":[` + strings.Repeat("[", 150) + strings.Repeat("]", 150) + `]}}`, items(1_000, strings.Repeat("[", 800)+strings.Repeat("]", 800))},
		"many types":                         {`{"allOf":` + items(19_000, `{"type":["string","null"]}`) + `}`, items(100_000, "1")},
		"format of many texts":               {`{"items":{"format":"date-time"}}`, items(200_000, `"2024-01-01T00:00:00Z"`)},
		"format over a long text":            {`{"anyOf":` + items(9_000, `{"format":"email"}`) + `}`, `"` + strings.Repeat("a@", 2_000_000) + `"`},
		"format uri over long texts":         {`{"items":{"format":"idn-hostname"}}`, items(2_000, `"`+strings.Repeat("ä.", 1_000)+`"`)},
		"propertyNames":                      {`{"propertyNames":{"anyOf":` + items(9_000, `{"const":"x"}`) + `}}`, `{` + join(100_000, `"n%d":1`) + `}`},
		"allOf of the whole in each item":    {`{"items":{"allOf":` + items(19_000, `{"$ref":"#/$defs/d"}`) + `},"$defs":{"d":{"minimum":1}}}`, items(100_000, "1")},
		"problems of many items":             {`{"items":{"anyOf":` + items(9_000, `{"required":["a","b"],"properties":{"a":{"const":1}}}`) + `}}`, items(20_000, `{"c":1}`)},
	}
}

func joinNext(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.NewReplacer("%d", fmt.Sprint(i), "%n", fmt.Sprint(i+1)).Replace(format)
	}
	return strings.Join(parts, ",")
}

// A schema and a value within the limits cost bounded time and memory, without any deadline.
func TestNoStepCostsMoreThanItsShare(t *testing.T) {
	const (
		patience = 2 * time.Minute // the slowest takes about 1 s on an idle machine without the race detector
		room     = 2 << 30         // allocated in all, and mostly freed at once
	)
	for name, p := range dearPairs() {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, _ = Lint([]byte(p.schema))
			s, err := Compile([]byte(p.schema))
			if err == nil {
				_ = s.Validate(t.Context(), decode(t, p.value))
			}
			runtime.ReadMemStats(&after)
			assert.Less(t, time.Since(began), patience)
			if !raceDetector { // it makes sync.Pool drop what the regular expressions would use again
				assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(room))
			}
			t.Log(time.Since(began), err)
		})
	}
}
