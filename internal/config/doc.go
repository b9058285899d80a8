// Package config holds what the commands share of their configuration: the name of a flag's variable, the logger, and
// the Redis URL with its password.
//
// It reads flags' values and variables that it is given; it owns no goroutine and keeps no state. Secrets come from the
// environment or a URL and are never printed (I9): show a URL with [Redact].
package config
