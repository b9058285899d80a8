// Package prefixorder sorts jobs by their first prompts, so that jobs with a long common prefix are neighbours.
//
// A model server computes a shared prefix once if the requests that share it follow each other. [MayGain] looks at a sample
// of the prompts and reports whether sorting may be worth its time. A [Sorter] sorts all jobs in bounded memory, and reports
// how much its order gains. The order depends on the jobs alone, so that a second submitter computes the same one.
package prefixorder

// Version names the order that a [Sorter] makes. A change of the order needs another version.
const Version = "prefix 1"

const (
	// minShared is the shortest common prefix, in bytes, that is worth a place beside another job: about 128 tokens.
	minShared = 4 * blockBytes
	// minGain is the share of all prompt bytes that an order has to save.
	minGain = 0.05
)

// counts reports whether a common prefix is long enough to matter for two prompts of these lengths.
func counts(shared, a, b int) bool {
	return shared >= minShared && 4*shared >= min(a, b)
}
