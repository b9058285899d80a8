package batch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// golden has a row for every state and a column for every event, in the order of States and Events. "-" is refused.
const golden = `
           claim     ready   ask_tools tools_done succeed  fail   cancel    release expire  retry
PENDING    PREFLIGHT -       -         -          -        -      -         -       -       -
PREFLIGHT  -         RUNNING -         -          -        FAILED CANCELLED PENDING PENDING -
RUNNING    -         -       TOOL_WAIT -          COMPLETE FAILED CANCELLED PENDING PENDING -
TOOL_WAIT  -         -       -         RUNNING    -        FAILED CANCELLED PENDING PENDING -
COMPLETE   -         -       -         -          -        -      -         -       -       -
FAILED     -         -       -         -          -        -      -         -       -       PENDING
CANCELLED  -         -       -         -          -        -      -         -       -       -
`

func TestNextMatchesGoldenTable(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(golden), "\n")
	events := strings.Fields(lines[0])
	require.Len(t, events, len(Events))
	require.Len(t, lines[1:], len(States))
	for i, line := range lines[1:] {
		row := strings.Fields(line)
		require.Equal(t, string(States[i]), row[0])
		require.Len(t, row[1:], len(events), "row %s", row[0])
		for j, want := range row[1:] {
			require.Equal(t, string(Events[j]), events[j])
			got, err := Next(States[i], Events[j])
			if want != "-" {
				require.NoError(t, err, "%s, %s", States[i], Events[j])
				require.Equal(t, State(want), got, "%s, %s", States[i], Events[j])
				continue
			}
			refused, ok := errors.AsType[*TransitionError](err)
			require.True(t, ok, "%s takes %s", States[i], Events[j])
			require.Equal(t, TransitionError{States[i], Events[j]}, *refused)
			require.Equal(t, States[i], got, "a refused event keeps the state")
		}
	}
}

func TestNextRefusesUnknownStatesAndEvents(t *testing.T) {
	_, err := Next(Pending, "explode")
	require.EqualError(t, err, "a job in state PENDING cannot take the event explode")
	_, err = Next("LIMBO", Claim)
	require.Error(t, err)
}

func TestEveryStateIsPendingLeasedOrTerminal(t *testing.T) {
	for _, s := range States {
		n := 0
		for _, is := range []bool{s == Pending, s.Leased(), s.Terminal()} {
			if is {
				n++
			}
		}
		require.Equal(t, 1, n, s)
	}
}

// diagram expands the picture in ARCHITECTURE.md into "from event to" lines.
func diagram(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "ARCHITECTURE.md"))
	require.NoError(t, err)
	_, picture, found := strings.Cut(string(text), "pkg/batch/state.go:Next`:\n\n")
	require.True(t, found, "ARCHITECTURE.md has no picture of the job states")
	picture, _, _ = strings.Cut(picture, "\n\n")
	drawn := map[string]bool{}
	from := ""
	var sources []string
	for _, word := range strings.Fields(strings.NewReplacer("any leased state", "LEASED", "▶ ", "▶").Replace(picture)) {
		word = strings.TrimSuffix(word, ",")
		if !strings.HasPrefix(word, "─") {
			from = word
			sources = []string{from}
			if from == "LEASED" {
				sources = []string{string(Preflight), string(Running), string(ToolWait)}
			}
			continue
		}
		names, to, ok := strings.Cut(strings.TrimPrefix(word, "─"), "▶")
		require.True(t, ok, "no arrow in %q", word)
		for _, source := range sources {
			for _, event := range strings.Split(names, "/") {
				drawn[fmt.Sprint(source, " ", event, " ", to)] = true
			}
		}
		if from != "LEASED" {
			from, sources = to, []string{to}
		}
	}
	return drawn
}

func TestArchitectureDrawsEveryTransition(t *testing.T) {
	want := map[string]bool{}
	for _, s := range States {
		for _, e := range Events {
			if to, err := Next(s, e); err == nil {
				want[fmt.Sprint(s, " ", e, " ", to)] = true
			}
		}
	}
	require.Equal(t, want, diagram(t))
}
