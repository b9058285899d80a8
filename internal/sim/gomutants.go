package sim

// GoMutant is Go code with a deliberate defect, in the part of the engine that makes the calls of programs. The compiler gets it with
// -overlay, so the engine has no switch for it. The simulation must catch each mutant.
type GoMutant struct {
	Name  string
	File  string // from the root of the module
	Old   string // must occur exactly once in the file
	New   string
	From  int // the first seed; mutants that only some seeds can catch begin at one of these
	Seeds int // the mutant is caught within this many seeds
}

// GoMutants lists every mutant of Go code.
var GoMutants = []GoMutant{
	{
		Name: "answer of the journal by position", File: "pkg/agent/programjournal.go", Seeds: 20,
		Old: `	at := j.waiting[key]
`,
		New: `	at := j.waiting[key]
	for other, places := range j.waiting {
		if len(at) > 0 && places[0] < at[0] && j.turns[places[0]].Call.Tool == j.turns[at[0]].Call.Tool {
			key, at = other, places
		}
	}
`,
	},
	{
		Name: "key without the messages", File: "pkg/agent/programjournal.go", Seeds: 20,
		Old: `}{r.Messages, r.Tools,`,
		New: `}{nil, r.Tools,`,
	},
	{
		Name: "key of a tool call without its arguments", File: "pkg/agent/programjournal.go", Seeds: 20,
		Old: `len(name), name, arguments))`,
		New: `len(name), name, ""))`,
	},
	{
		Name: "journal that is not searched", File: "pkg/agent/programjournal.go", Seeds: 20,
		Old: `	if len(at) == 0 {
		return Turn{}, false`,
		New: `	if true {
		return Turn{}, false`,
	},
	{
		Name: "answer that the program gets before the journal", File: "pkg/agent/programcall.go", Seeds: 40,
		Old: `if err := c.record(s, callTurn(key, resp)); err != nil {`,
		New: `go func() { _ = c.record(s, callTurn(key, resp)) }()
	if err != nil {`,
	},
	{
		Name: "answer that the program gets although the journal refused it", File: "pkg/agent/programcall.go", Seeds: 40,
		Old: `if err := c.record(s, callTurn(key, resp)); err != nil {`,
		New: `if err := c.record(s, callTurn(key, resp)); err != nil && false {`,
	},
	{
		Name: "answer that is not journalled", File: "pkg/agent/programcall.go", Seeds: 20,
		Old: `if err := c.record(s, callTurn(key, resp)); err != nil {`,
		New: `if err != nil {`,
	},
	{
		Name: "start of a program that forgets its calls", File: "pkg/agent/program.go", Seeds: 20,
		Old: `			calls.journal.rewind()
`,
		New: ``,
	},
	{
		Name: "second answer after a broken stream", File: "pkg/agent/programcall.go", Seeds: 40,
		Old: `	return !p.again || `,
		New: `	return true || `,
	},
	{
		Name: "call after the attempt has ended", File: "pkg/agent/program.go", Seeds: 40,
		Old: `	if c.ended != nil {
		return nil, nil, c.ended
	}
	if over := c.scope.over(); over != nil {`,
		New: `	if over := c.scope.over(); over != nil && false {`,
	},
	{
		Name: "agent that runs on without its lease", File: "internal/worker/heartbeat.go", From: 60, Seeds: 100, // one seed in 30 catches it
		Old: `h.live.cancel(statestore.ErrFenced, func(s *session) bool { return s.lease == l })`,
		New: `_, _ = l, statestore.ErrFenced`,
	},
}
