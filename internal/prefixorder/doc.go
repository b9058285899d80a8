// Package prefixorder sorts jobs by their first prompts, so that jobs with a long common prefix are neighbours.
//
// A model server computes a shared prefix once if the requests that share it follow each other. [MayGain] looks at a sample
// of the prompts and reports whether sorting may be worth its time. A [Sorter] sorts all jobs in bounded memory, and reports
// whether its order gains enough. It also finds groups: neighbours of which each shares a long prefix with the one before. The order depends on the jobs alone, so that a second submitter computes the same one.
package prefixorder

// Version names the order that a [Sorter] makes. A change of the order needs another version.
const Version = "prefix 1"

// The limits of a group. One claim reads the rest of a group at once.
const (
	maxRest      = 255
	maxRestBytes = 1 << 20 // of payloads
)

const (
	// MinShared is the shortest common prefix, in bytes, that is worth a place beside another job: about 128 tokens.
	MinShared = 4 * blockBytes
	// minGain is the share of all prompt bytes that an order has to save.
	minGain = 0.05
)

// counts reports whether a common prefix is long enough to matter for two prompts of these lengths.
func counts(shared, a, b int) bool {
	return shared >= MinShared && 4*shared >= min(a, b)
}
