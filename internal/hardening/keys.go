package hardening

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKey limits a file that contains a key, in bytes.
const maxKey = 64 << 10

// TakeKeys removes variables from the environment. It returns a lookup that finds these variables and all others that
// are set at the time of the call. On Linux it also overwrites the initial environment, which /proc shows for the life
// of a process.
//
// If NAME is missing or empty and NAME_FILE is set, the key is the text of that file without its final line break. It is
// an error to set both, and to name a file that is empty or cannot be read. The lookup is usable even after an error.
//
// Call it before [Undumpable], and before other code reads the variables.
func TakeKeys(names []string) (func(string) (string, bool), error) {
	taken := make(map[string]string, len(names))
	var errs []error
	for _, name := range names {
		value, ok := os.LookupEnv(name)
		_ = os.Unsetenv(name) // cannot fail for a name of letters
		if file := os.Getenv(name + "_FILE"); file != "" {
			if value != "" {
				errs = append(errs, fmt.Errorf("%s and %[1]s_FILE are both set: unset one", name))
				continue
			}
			var err error
			if value, err = readKey(file); err != nil {
				errs = append(errs, fmt.Errorf("%s_FILE: %w", name, err))
				continue
			}
			ok = true
		}
		if ok {
			taken[name] = value
		}
	}
	wipeInitial(names)
	return func(name string) (string, bool) {
		if value, ok := taken[name]; ok {
			return value, true
		}
		return os.LookupEnv(name)
	}, errors.Join(errs...)
}

func readKey(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return "", err
	}
	key := strings.TrimRight(string(text), "\r\n")
	if key == "" || len(text) > maxKey {
		return "", fmt.Errorf("%s has %d bytes; write the key into it", name, len(text))
	}
	return key, nil
}

// Getenv returns the lookup in the form of [os.Getenv].
func Getenv(lookup func(string) (string, bool)) func(string) string {
	return func(name string) string {
		value, _ := lookup(name)
		return value
	}
}
