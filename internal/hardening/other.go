//go:build !linux

package hardening

func wipeInitial([]string) {}

// Undumpable does nothing on this platform.
func Undumpable() error { return nil }
