// Package testredis provides Redis servers for tests: an embedded one, real processes, and a connection that loses replies.
//
// [Mini] and [Pipe] are miniredis; Pipe needs no network and runs inside a testing/synctest bubble. [Server], [Cluster] and
// [Sentinel] start real redis-server processes in the test's temporary directory, on ports that the system chooses. They stop
// each process by its PID when the test ends. [Line] sits between a store and any of these servers. It loses single replies after
// the server executed the command.
//
// Real servers show that the scripts work in production. Without redis-server, tests that need it are skipped with a message that
// explains how to install it; if the environment variable CI is set, they fail. BATCHAGENT_REDIS_SERVER selects another server
// than the redis-server in PATH: an older one, a newer one, a Valkey.
//
// Each process has one goroutine, which waits for its end. Only tests import this package.
//
// Start reading at [Server].
package testredis
