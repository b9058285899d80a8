package hardening

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKey bounds a file that holds a key, in bytes.
const maxKey = 64 << 10

// TakeKeys removes variables from the environment and returns a lookup that still has them, and everything else that the
// environment has when it is called. The initial environment, which /proc shows for the life of a process, is overwritten on
// Linux. Where the variable NAME is missing or empty and NAME_FILE is set, the key is the text of that file, without the line
// break at its end. Setting both is an error, and so is a file that cannot be read or is empty: the lookup is usable all the same.
//
// Call it before [Undumpable], and before anything else reads the variables.
func TakeKeys(names []string) (func(string) (string, bool), error) {
	taken := make(map[string]string, len(names))
	var errs []error
	for _, name := range names {
		value, ok := os.LookupEnv(name)
		_ = os.Unsetenv(name) // fails for no name that has letters only
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

// Getenv is a lookup in the form of [os.Getenv].
func Getenv(lookup func(string) (string, bool)) func(string) string {
	return func(name string) string {
		value, _ := lookup(name)
		return value
	}
}
