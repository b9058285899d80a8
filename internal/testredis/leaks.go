package testredis

import "go.uber.org/goleak"

// Dialling makes goleak ignore the goroutine in which go-redis dials an unreachable server. It checks only once a second whether
// its pool was closed, and then ends by itself.
func Dialling() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
}
