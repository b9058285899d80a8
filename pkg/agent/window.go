package agent

import "github.com/batchagent/batchagent/pkg/backend"

// contextWindow returns the size of the model's context in tokens: the listed one, or a smaller one from a refusal. It
// returns 0 if neither is known.
func (d *Definition) contextWindow() int {
	learned := int(d.learned.Load())
	if learned > 0 && (d.window <= 0 || learned < d.window) {
		return learned
	}
	return d.window
}

// learn records the context size that a server gave when it refused a request as too long. 0 is ignored.
func (d *Definition) learn(window int) {
	for {
		old := d.learned.Load()
		if window <= 0 || old > 0 && int64(window) >= old || d.learned.CompareAndSwap(old, int64(window)) {
			return
		}
	}
}

// relieve handles the refusal of a conversation as too long. It reports whether there was anything to shorten.
func (a *attempt) relieve(e *backend.Error) bool {
	a.def.learn(e.Window)
	a.conv.window = a.def.contextWindow()
	return a.conv.relieve()
}
