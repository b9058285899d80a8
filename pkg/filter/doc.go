// Package filter reads conditions on results, such as `failed or output.confidence < 0.5`, and evaluates them.
//
// The notation is that of expr-lang/expr, whose parser reads it. The evaluation is this package's own, because a value that a
// result lacks must be null and no error, and because a condition may come from a stranger: it costs bounded time and memory
// (I11). There are no loops, variables and functions that build texts. One result costs at most maxSteps steps.
//
// Start reading at [Parse].
package filter
