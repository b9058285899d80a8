// Package flagtest checks the flags of a command.
package flagtest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/urfave/cli/v2"
)

// Variables checks that the flags in with can be set by an environment variable, that those in without cannot, and that each flag is
// in one of the lists: a variable that is left over from another command must not make this one destroy or redirect data.
func Variables(t *testing.T, flags []cli.Flag, with, without []string) {
	t.Helper()
	for _, f := range flags {
		name, vars := f.Names()[0], f.(cli.DocGenerationFlag).GetEnvVars()
		switch {
		case slices.Contains(without, name):
			assert.Empty(t, vars, name)
		case slices.Contains(with, name):
			assert.NotEmpty(t, vars, name)
		default:
			t.Errorf("--%s: decide whether a variable may set it, and add it to a list here", name)
		}
	}
}
