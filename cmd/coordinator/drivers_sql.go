//go:build sql

package main

import (
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/postgres"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"
)

func init() {
	drivers["postgres"] = postgres.Driver
	drivers["sqlite"] = sqlite.Driver
}
