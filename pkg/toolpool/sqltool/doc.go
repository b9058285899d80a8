// Package sqltool gives agents databases to read.
//
// It owns the tool sql_query, which runs one statement that the model wrote, and lookups, which an operator wrote:
// single-key queries of which many that arrive together become one statement. Everything is read-only and
// parametrised; rows, bytes and time of a statement are bounded. A database's address never shows in a result, an
// error or a log.
//
// Packages postgres and sqlite are the drivers; this one knows neither, so that a program links what it uses.
//
// A [Source] is safe for concurrent use. Each batch of lookups has one goroutine, which ends with its statement, at the
// source's timeout, or when nobody waits any more. [Source.Close] waits for them.
//
// Start reading at [Source.Tools] and, for lookups, at lookup.go.
package sqltool
