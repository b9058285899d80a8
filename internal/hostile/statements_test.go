package hostile

import (
	"fmt"
	"strings"
)

// statementAttacks are statements for sql_query on SQLite.
func statementAttacks() []attack {
	statements := map[string]string{
		"random blob":               "SELECT hex(randomblob(100000000))",
		"many random blobs":         "SELECT hex(randomblob(8000000)) FROM t, t a, t b, t c",
		"zero blob":                 "SELECT zeroblob(2000000000)",
		"printf of a wide field":    "SELECT printf('%1000000000d', 1)",
		"printf of many characters": "SELECT printf('%.*c', 2000000000, 'x')",
		"printf of many fields":     "SELECT printf('" + strings.Repeat("%5000d", 2_000) + "', 1)",
		"texts that double":         "WITH RECURSIVE n(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM n) SELECT length(x) FROM n",
		"rows that double":          "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT n.x + t.x FROM n, t) SELECT count(*) FROM n",
		"distinct rows":             "WITH RECURSIVE n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n) SELECT max(x) FROM n",
		"joins":                     "SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l",
		"sort of joins":             "SELECT a.x FROM t a, t b, t c, t d, t e, t f, t g, t h ORDER BY random()",
		"group_concat":              "SELECT length(group_concat(hex(zeroblob(100000)))) FROM t a, t b, t c, t d",
		"LIKE of wildcards":         fmt.Sprintf("SELECT '%s' LIKE '%s'", strings.Repeat("a", 40_000), strings.Repeat("%a", 20_000)+"b"),
		"LIKE of few wildcards":     fmt.Sprintf("SELECT printf('%%.*c', 100000, 'a') LIKE '%s'", strings.Repeat("%a", 40)+"b"),
		"GLOB of wildcards":         fmt.Sprintf("SELECT printf('%%.*c', 100000, 'a') GLOB '%s'", strings.Repeat("*a", 40)+"b"),
		"replace":                   "SELECT length(replace(hex(zeroblob(5000000)), '0', hex(zeroblob(3000))))",
		"trim":                      "SELECT length(trim(hex(zeroblob(8000000)), printf('%.*c', 100000, 'a') || '0'))",
		"JSON that nests":           "SELECT json_extract(printf('%.*c', 500000, '['), '$')",
		"JSON of many items":        "SELECT count(*) FROM json_each('[' || replace(printf('%.*c', 9000000, '1'), '1', '1,') || '1]')",
		"group of JSON":             "SELECT length(json_group_array(hex(zeroblob(10000)))) FROM t a, t b, t c, t d, t e, t f",
		"expression that nests":     "SELECT " + strings.Repeat("(", 5_000) + "1" + strings.Repeat(")", 5_000),
		"terms":                     "SELECT " + strings.Repeat("1+", 30_000) + "1",
		"unions":                    strings.Repeat("SELECT 1 UNION ALL ", 5_000) + "SELECT 1",
		"columns":                   "SELECT " + strings.Repeat("1,", 5_000) + "1",
		"wide rows":                 "SELECT " + strings.Repeat("hex(zeroblob(7000)),", 1_000) + "1 FROM t, t a, t b",
		"long names":                "SELECT 1 AS " + strings.Repeat("a", 900_000),
		"values":                    "VALUES " + strings.Repeat("(1),", 100_000) + "(1)",
		"window functions":          "SELECT sum(x) OVER (ORDER BY random() ROWS UNBOUNDED PRECEDING) FROM (SELECT a.x FROM t a, t b, t c, t d, t e, t f, t g, t h)",
		"series":                    "SELECT count(*) FROM generate_series(1, 10000000000)",
		"attach":                    "ATTACH 'other.db' AS o",
		"attach in a comment":       "/* SELECT */ ATTACH 'other.db' AS o",
		"pragma":                    "PRAGMA journal_mode = DELETE",
		"pragma function":           "SELECT * FROM pragma_table_info('t')",
		"extension":                 "SELECT load_extension('/tmp/x.so')",
		"file":                      "SELECT readfile('/etc/passwd')",
		"write":                     "WITH a AS (SELECT 1) INSERT INTO t SELECT 1",
		"two statements":            "SELECT 1; DELETE FROM t",
		"virtual table":             "SELECT * FROM dbstat",
		"tokenizer":                 "SELECT fts3_tokenizer('simple')",
		"NUL":                       "SELECT 1\x00; DROP TABLE t",
		"not UTF-8":                 "SELECT '\xff\xfe'",
		"missing parameter":         "SELECT * FROM t WHERE x = ?1",
	}
	all := make([]attack, 0, len(statements))
	for name, text := range statements {
		all = append(all, attack{"statement " + name, "sql_query", object{"query": text}, ""})
	}
	large := make([]any, 100)
	for i := range large {
		large[i] = strings.Repeat("x", 100_000)
	}
	return append(all, attack{"statement large parameters", "sql_query", object{"query": "SELECT length(?1)", "params": large}, ""})
}
