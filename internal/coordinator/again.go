package coordinator

import (
	"net/url"
	"slices"
	"strings"
)

// resumeFlag precedes all other flags in RunOptions.Command.
const resumeFlag = "--resume"

// again returns the command that continues this run, quoted for a shell.
func (r *fileRun) again() string {
	args := r.options.Command
	if args == nil {
		args = []string{"coordinator", "run", r.options.Spec, resumeFlag, "--out", r.options.Out}
	}
	if r.server != nil && r.server.by == byVariable {
		args = slices.Insert(slices.Clone(args), max(0, slices.Index(args, resumeFlag)), "--backend", r.options.Getenv(backendVariable))
	}
	args, note := withoutSecret(args, "--backend", backendVariable)
	return ShellQuote(args) + note
}

// withoutSecret removes a flag from a command if its URL holds a password. The note names the variable to set instead.
func withoutSecret(args []string, flag, variable string) (rest []string, note string) {
	i := slices.Index(args, flag)
	if i < 0 || i+1 >= len(args) || !hasSecret(args[i+1]) {
		return args, ""
	}
	return slices.Delete(slices.Clone(args), i, i+2), " (with " + variable + " set to the server's URL, which holds a password)"
}

// hasSecret reports whether a URL may hold credentials and must not be shown.
func hasSecret(raw string) bool {
	u, err := url.Parse(raw)
	return err != nil || u.User != nil
}

// ShellQuote joins arguments, quoted so that a POSIX shell reads the same arguments.
func ShellQuote(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if arg == "" || strings.ContainsFunc(arg, needsQuotes) {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func needsQuotes(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune("-_./:,@%+", c)
}
