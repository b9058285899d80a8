// Package sample writes JSON values that a JSON Schema accepts.
//
// It is how the simulated server answers: the same schema, seed and words give the same bytes. Values are right by
// construction for the common keywords. A schema that uses others (patterns, not, if, contains, …) is checked with a
// real validator and drawn again a bounded number of times; if no draw is valid, the last one is returned.
//
// [Compile] is expensive and meant to be cached; a [Schema] is immutable and safe for concurrent use. The size of a
// value is bounded whatever the schema asks for.
//
// Start reading at [Schema.Append].
package sample
