package testredis

import "go.uber.org/goleak"

// Dialling lets goleak pass over the goroutine in which go-redis goes on dialling a server that is away: it looks only once a
// second whether its pool was closed, and then ends by itself.
func Dialling() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
}
