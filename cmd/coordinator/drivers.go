package main

import "github.com/batchagent/batchagent/pkg/toolpool/sqltool"

// drivers are the databases that `coordinator run --tools` can open, by scheme. They are compiled only with the build
// tag sql and in the worker. SQLite alone takes as long to compile as the standard library's HTTP server, and `go run`
// must start fast.
var drivers = map[string]func() sqltool.Driver{}
