// Package jsonschema reads JSON Schemas, reports mistakes in them, and checks JSON values against them, in bounded time and
// memory.
//
// Schemas come from users and tools, values from models. Both are untrusted, so every operation has a limit: see [MaxBytes],
// [MaxSubschemas], [MaxDepth] and [MaxSteps]. A check that reaches a limit returns a [*LimitError].
//
// [Lint] serves the author of a schema: it unwraps the forms of OpenAI, translates nullable, and reports everything that would
// be ignored or that no value can match. [Compile] serves programs: it accepts unknown keywords, because the schemas of tools
// come from elsewhere.
//
// Drafts 04, 06, 07, 2019-09 and 2020-12 are supported, selected by $schema; 2020-12 is the default. format is asserted in
// every draft. pattern follows ECMA-262 with the u flag. Numbers are compared exactly. A $ref never loads anything.
//
// The package has its own validator, because existing validators for Go cannot be bounded: their time is exponential in the
// depth of a value if a schema refers to itself twice, and they build every error on the way.
package jsonschema
