// Package config holds the configuration that the commands share: the environment variable of a flag, the logger, and the Redis
// URL with its password.
//
// It reads the flags and variables passed to it. It starts no goroutine, except in [LevelBySignal], and keeps no state. Secrets
// come from the environment or a URL and are never printed (I9): show a URL with [Redact].
package config
