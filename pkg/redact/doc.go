// Package redact strikes known secrets out of text before the text is cut, logged or returned.
//
// Strike out secrets before cutting a text. A cut within a secret leaves a part that no later search finds. So every reader of
// untrusted output wraps its source. [Secrets.Reader] and [Secrets.Writer] work on a stream and find secrets across the borders
// of chunks. [Secrets.Lines] does so for events. [Secrets.Text] works on a whole text.
//
// A secret is also found with any of its characters escaped, as in URLs, JSON, programs and HTML, and escaped again up to three
// times. It is found in hexadecimal, and in base64 at any offset, in both alphabets and across lines. A secret that may be an
// ordinary word is struck out only as a separate word in its plain form.
//
// [Secrets] never change and are safe for concurrent use. A Reader or Writer belongs to one goroutine. The package keeps no
// state. Of a stream it buffers only text that may be the start of a secret, so at most the longest form of one.
package redact
