package hardening

import "os"

// TakeKeys removes variables from the environment and returns a lookup that still has them, and everything else that the
// environment has when it is called. The initial environment, which /proc shows for the life of a process, is overwritten on
// Linux. Call it before [Undumpable], and before anything else reads the variables.
func TakeKeys(names []string) func(string) (string, bool) {
	taken := make(map[string]string, len(names))
	for _, name := range names {
		value, ok := os.LookupEnv(name)
		if !ok {
			continue
		}
		taken[name] = value
		_ = os.Unsetenv(name) // fails for no name that was found
	}
	wipeInitial(names)
	return func(name string) (string, bool) {
		if value, ok := taken[name]; ok {
			return value, true
		}
		return os.LookupEnv(name)
	}
}

// Getenv is a lookup in the form of [os.Getenv].
func Getenv(lookup func(string) (string, bool)) func(string) string {
	return func(name string) string {
		value, _ := lookup(name)
		return value
	}
}
