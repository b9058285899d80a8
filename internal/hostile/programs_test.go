package hostile

import "strings"

// programAttacks are programs for python_eval.
func programAttacks() []attack {
	programs := map[string]string{
		"list of 10^9":               "[0] * (1000 * 1000 * 1000)",
		"text of 10^10":              "'x' * (10 * 1000 * 1000 * 1000)",
		"number of 10^9 bits":        "1 << 511 << 511",
		"numbers that double":        "x = 1 << 500\nfor i in range(30):\n  x = x * x\nlen(str(x))",
		"recursion":                  "def f(n): return f(n + 1)\nf(0)",
		"mutual recursion":           "def f(n): return g(n)\ndef g(n): return f(n)\nf(0)",
		"text of a tree of itself":   "a = 'x' * 10\nfor i in range(60):\n  a = [a, a]\na",
		"JSON of a tree of itself":   "a = 'x' * 10\nfor i in range(60):\n  a = [a, a]\njson.encode(a)",
		"comparison of equal trees":  "a = [1]\nb = [1]\nfor i in range(60):\n  a = [a, a]\n  b = [b, b]\na == b",
		"hash of a deep tuple":       "a = (1,)\nfor i in range(60):\n  a = (a, a)\n{a: 1}",
		"list within itself":         "a = []\na.append(a)\na",
		"text that is printed":       "print('x' * (200 * 1000 * 1000))",
		"printing without end":       "while True: print('x' * 10000)",
		"JSON that nests":            "json.decode('[' * 1000000 + ']' * 1000000)",
		"replacement":                "('a' * 100000).replace('a', 'b' * 100000)",
		"join":                       "('b' * 100000).join(['a'] * 100000)",
		"format":                     "'%s' % ('x' * (400 * 1000 * 1000))",
		"split":                      "len(('a' * 50000000).split('a'))",
		"sum of ranges":              "sorted(range(1000 * 1000 * 1000))",
		"set of a range":             "set(range(1000 * 1000 * 1000))",
		"zip of ranges":              "zip(range(1000 * 1000 * 1000), range(1000 * 1000 * 1000))",
		"power":                      "math.pow(10, 10000000)",
		"lists that double":          "a = [1]\nfor i in range(60):\n  a += a\nlen(a)",
		"dict comprehension":         "{i: [i] * 10000 for i in range(1000000)}",
		"parser nesting":             strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"unary operators":            strings.Repeat("-", 60_000) + "1",
		"blocks in blocks":           nestedBlocks(500),
		"sum of many terms":          strings.Repeat("1+", 50_000) + "1",
		"bytes that are no text":     "'\xff\xfe'",
		"file system":                "load('/etc/passwd', 'x')",
		"module that is not there":   "import os",
		"escape by attributes":       "json.__class__.__bases__",
		"name of a direction":        "'a\u202eb'",
		"elems of a long text":       "list(('x' * 100000000).elems())",
		"sorted with a slow key":     "sorted(range(1000000), key=lambda x: sorted(range(1000000)))",
		"max of recursive functions": "def f(x): return max([x], key=f)\nf(1)",
	}
	all := make([]attack, 0, len(programs))
	for name, code := range programs {
		all = append(all, attack{"program " + name, "python_eval", object{"code": code}, ""})
	}
	return all
}

func nestedBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "if True:\n")
	}
	return b.String() + strings.Repeat(" ", n) + "pass\n"
}
