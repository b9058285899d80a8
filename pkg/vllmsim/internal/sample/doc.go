// Package sample generates JSON values that a JSON Schema accepts.
//
// The simulated server uses it for its answers: the same schema, seed and words give the same bytes. For the common keywords,
// values are valid by construction. With other keywords (patterns, not, if, contains, …), a real validator checks each value.
// Invalid values are drawn again, a limited number of times; if no draw is valid, the last one is returned.
//
// [Compile] is expensive; callers should cache its result. A [Schema] is immutable and safe for concurrent use. The size of a
// value is limited for every schema.
//
// Start reading at [Schema.Append].
package sample
