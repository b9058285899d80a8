module github.com/batchagent/batchagent/deploy/composetest

go 1.26.0

require (
	github.com/batchagent/batchagent v0.0.0
	github.com/goccy/go-yaml v1.19.2
)

replace github.com/batchagent/batchagent => ../..
