// Package e2e tests the built programs as users run them: real processes, real redis-servers and sentinels, kill -9 and SIGSTOP.
//
// It holds tests only. They skip without redis-server, except in CI.
package e2e
