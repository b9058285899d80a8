package hostile

import "strings"

// fileAttacks are paths and regular expressions for the file tools.
func fileAttacks() []attack {
	var all []attack
	for name, path := range map[string]string{
		"absolute": "/etc/passwd", "parent": "../shop.db", "hidden parent": "a/../../shop.db", "NUL": "long.txt\x00.png", "home": "~/.ssh/id_rsa",
		"device": "/dev/zero", "process": "/proc/self/environ", "long": strings.Repeat("a/", 100_000), "backslash": "..\\..\\shop.db", "file URL": "file:///etc/passwd",
		"long name": strings.Repeat("a", 10_000), "not UTF-8": "\xff", "direction": "a\u202eb",
	} {
		for _, tool := range []string{"read_file", "list_files", "grep_files"} {
			args := object{"path": path}
			if tool == "grep_files" {
				args["pattern"] = "x"
			}
			all = append(all, attack{tool + " path " + name, tool, args, ""})
		}
	}
	for name, pattern := range map[string]string{
		"repeats of repeats":    "((((a{1,100}){1,100}){1,100}))",
		"repeats at the limit":  "(?:a{0,31}){0,31}",
		"alternatives":          strings.Repeat("(a|aa|aaa)*", 100) + "$",
		"any text":              strings.Repeat(".*", 200) + "c",
		"classes":               strings.Repeat(`\pL\p{Greek}`, 500),
		"long":                  strings.Repeat("a?", 5_000) + strings.Repeat("a", 5_000),
		"nested groups":         strings.Repeat("(", 2_000) + "a" + strings.Repeat(")", 2_000),
		"look-ahead":            "(?=a+)(a+)+$",
		"reference to a group":  `(a*)\1`,
		"many literals":         strings.Repeat("word|", 20_000) + "x",
		"case folding":          "(?i)" + strings.Repeat("ſK", 1_000),
		"not UTF-8":             "\xff+",
		"empty match":           "(|a)*",
		"repeats of empty text": "(?:(?:|a){0,30}){0,30}$",
	} {
		all = append(all, attack{"expression " + name, "grep_files", object{"pattern": pattern, "path": "."}, ""})
	}
	return all
}

// serviceAttacks are arguments for the operator's commands and services.
func serviceAttacks() []attack {
	var all []attack
	for name, city := range map[string]string{
		"line ends": "a\r\nX-Key: b", "NUL": "a\x00b", "host": "//example.com/", "query": "a?admin=1#x", "at": "@example.com/", "long": strings.Repeat("a", 1<<20),
		"not UTF-8": "\xff\xfe", "many times encoded": "%2525252e%2525252e", "invalid escape": "..%2fadmin%zz", "backslash": "..\\admin", "semicolon": "..;/admin",
	} {
		all = append(all, attack{"service " + name, "weather", object{"city": city}, ""})
	}
	for name, word := range map[string]string{
		"shell": "$(id); `id` | id", "NUL": "a\x00b", "long": strings.Repeat("a", 1<<20), "empty": "", "minus": "-", "line ends": "a\n--help",
	} {
		all = append(all, attack{"command " + name, "shout", object{"word": word}, ""})
	}
	return append(all,
		attack{"arguments that nest", "weather", object{"city": nest(5_000)}, "Error"},
		attack{"argument of 10^6 digits", "weather", rawArgs(`{"city":` + strings.Repeat("7", 1_000_000) + `}`), "Error"},
		attack{"argument with a large exponent", "sql_query", rawArgs(`{"query":"SELECT ?1","params":[1e1000000000]}`), ""},
		attack{"names that are given twice", "weather", rawArgs(`{"city":"a","city":"../b"}`), ""},
		attack{"names without end", "weather", rawArgs(`{"` + strings.Repeat("a", 1<<20) + `":1}`), "Error"},
		attack{"10^5 names", "weather", rawArgs(`{` + strings.Repeat(`"a":1,`, 100_000) + `"city":"b"}`), ""},
		attack{"no JSON", "weather", rawArgs(strings.Repeat("[", 100_000)), "Error"},
		attack{"tool without a name", "", object{}, "Error"},
		attack{"tool with a long name", strings.Repeat("x", 1<<20), object{}, "Error"},
	)
}

// rawArgs are arguments exactly as a model wrote them.
type rawArgs string

func nest(n int) any {
	var v any = "x"
	for range n {
		v = []any{v}
	}
	return v
}
