//go:build sqlite

package main

import "github.com/batchagent/batchagent/pkg/toolpool/sqltool/sqlite"

func init() { drivers["sqlite"] = sqlite.Driver }
