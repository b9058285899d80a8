// Package testredis gives tests a Redis: an embedded one, real processes, and a line that loses replies.
//
// [Mini] and [Pipe] are miniredis; Pipe needs no network and runs inside a testing/synctest bubble. [Server],
// [Cluster] and [Sentinel] start real redis-server processes on ports that the system chooses, in the test's
// temporary directory, and end each by its own process ID when the test ends. [Line] stands between a store and any of
// them and loses single replies after the server executed the command.
//
// Real servers are needed to know that the scripts work where users run them. On a machine without redis-server the
// tests that ask for one are skipped with a message that says how to install it; where the environment variable CI is
// set they fail instead. BATCHAGENT_REDIS_SERVER names another server than the redis-server in PATH: an older one, a newer one, a Valkey.
//
// Each process has one goroutine, which waits for its end. Only tests import this package.
//
// Start reading at [Server].
package testredis
