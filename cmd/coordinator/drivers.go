package main

import "github.com/batchagent/batchagent/pkg/toolpool/sqltool"

// drivers are the databases that `coordinator run --tools` can open, by scheme. They are left to builds with the tag
// sql, and to workers: SQLite alone takes as long to compile as the standard library's HTTP server, and `go run` is
// the first thing that a user types.
var drivers = map[string]func() sqltool.Driver{}
