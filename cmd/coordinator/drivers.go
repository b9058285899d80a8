package main

import (
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
)

// drivers are the databases that `coordinator run --tools` can open, by scheme. SQLite is left to builds with the tag
// sqlite, and to workers: it takes as long to compile as half of the rest, and `go run` is the first thing that a user
// types.
var drivers = map[string]func() sqltool.Driver{"postgres": postgres.Driver}
