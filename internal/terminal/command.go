package terminal

import (
	"net/url"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/localrun"
)

// resumeFlag precedes all other flags of the command that continues a run.
const resumeFlag = "--resume"

// resumeCommand returns the command that continues a run, quoted for a shell. It names the model server if a variable named
// it, which the next shell may not have.
func resumeCommand(o localrun.Options, command []string, byVariable bool) string {
	args := command
	if args == nil {
		args = []string{"coordinator", "run", o.Spec, resumeFlag, "--out", o.Out}
	}
	if byVariable {
		first := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--") })
		args = slices.Insert(slices.Clone(args), max(0, first), "--backend", o.Getenv(localrun.BackendVariable))
	}
	args, note := withoutSecret(args, "--backend", localrun.BackendVariable)
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
