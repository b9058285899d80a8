// Package redact strikes known secrets out of text before the text is cut, logged or returned.
//
// A text that is cut first can end within a secret, and no later search finds the part. So every reader of untrusted output
// wraps its source: [Secrets.Reader] and [Secrets.Writer] work on a stream and find secrets across chunk borders;
// [Secrets.Lines] does so for events.
// [Secrets.Text] works on a whole text.
//
// A secret is also found URL-encoded, within JSON and HTML, in hexadecimal, and in base64 at any offset. A secret that may be
// an ordinary word is struck out only where it stands alone, as it is.
//
// [Secrets] never change and are safe for concurrent use. A Reader or Writer belongs to one goroutine. The package keeps no
// state and holds at most one pattern's length of a stream back.
package redact
