// Package spec turns a user's spec file and inputs into a [Plan] and a stream of job payloads.
//
// It owns the file format, its error messages, the template language, input sources and the separation of the shared
// prefix from the per-job part. It reads files; it never talks to Redis or a server.
package spec
