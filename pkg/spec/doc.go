// Package spec turns a user's spec file and inputs into a [Compiled] and a stream of job payloads.
//
// It owns the file format, its error messages, the template language ([Template]), input sources, the check of the
// output schema itself, and the separation of the shared prefix from the per-job part. It reads files, and contacts
// neither Redis nor a server. Package agent checks answers against the schema.
//
// # Steps
//
//	Load      reads the spec, prompt and schema files; returns all mistakes at once, each with file, line and field ([Errors])
//	Compile   makes a first pass over the inputs: counts them, finds the bad ones and the values that never change
//	Payloads  makes a second pass: returns the JSON of one [Payload] per job, in order
//
// Inputs are streamed in both passes, and memory does not grow with their number. Standard input is copied to a
// temporary file for the second pass; [Spec.Close] removes it.
//
// # The shared prefix
//
// Plan.System is the same bytes for every job, so that a server computes it once: the system prompt, then long values
// that are the same in every input, then the output schema. The schema appears once: a prompt that contains
// {output_schema}, {schema} or the text of the schema keeps it there. A field of the inputs called schema wins over
// {schema}.
//
// # Bad input
//
// An input is bad if it cannot be read, or if it misses a field that a prompt uses. It fails the submit, or with
// on_bad_input: skip only its own job. A placeholder without a field in any input is a mistake of the prompt. A source
// that cannot be read is an error in both cases.
//
// # Concurrency and failure
//
// The package starts no goroutine. [Template] and [Compiled.Prompt] are safe for concurrent use; the rest is not. The user
// can fix all errors, except that of a cancelled context.
//
// Start reading at [Load], then [Spec.Prepare].
package spec
