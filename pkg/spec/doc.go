// Package spec turns a user's spec file and inputs into a [Plan] and a stream of job payloads.
//
// It owns the file format, its error messages, the template language ([Template]), input sources, the output schema's
// own validity, and the separation of the shared prefix from the per-job part. It reads files; it never talks to Redis
// or a server. What an answer is worth under the schema is the agent's business.
//
// # The way of a spec
//
//	Load      the spec, prompt and schema files; every mistake at once, each with file, line and field ([Errors])
//	Compile   a first pass over the inputs: counts them, finds the bad ones and the values that never change
//	Payloads  a second pass: the JSON of one [Payload] per job, in order
//
// Inputs are streamed in both passes, and memory does not grow with their number. Standard input is copied to a
// temporary file for the second pass; [Spec.Close] removes it.
//
// # The shared prefix
//
// Plan.System is the same bytes for every job, so that a server computes it once: the system prompt, then long values
// that are the same in every input, then the output schema. The schema is named once: a prompt that holds
// {output_schema} or {schema}, or spells the schema out, keeps it there. A field of the inputs called schema wins over {schema}.
//
// # Bad input
//
// A line that cannot be read, or lacks a field that a prompt uses, is a bad input: it fails the submit, or with
// on_bad_input: skip only its own job. A placeholder that no input has a field for is a mistake of the prompt. A
// source that cannot be read is an error in both cases.
//
// # Concurrency and failure
//
// The package starts no goroutine. [Template] and [Plan.Prompt] are safe for concurrent use, the rest is not. All errors
// but those of a cancelled context are the user's to mend.
//
// Start reading at [Load], then [Spec.Compile].
package spec
