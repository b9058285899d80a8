//go:build !linux

package hardening

func wipeInitial([]string) {}

// Undumpable does nothing here.
func Undumpable() error { return nil }
