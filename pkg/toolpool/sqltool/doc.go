// Package sqltool gives agents read access to databases.
//
// It owns the tool sql_query, which runs one statement of the model, and the operator's lookups. A lookup is a query for a single key;
// lookups that arrive together become one statement. All access is read-only, and values are parameters. Rows, bytes and time of a
// statement have limits. A database's address never appears in a result, an error or a log.
//
// Packages postgres and sqlite are the drivers. This package imports neither, so that a program links only the drivers it uses.
//
// A [Source] is safe for concurrent use. Each batch of lookups has one goroutine. It ends with its statement, at the
// source's timeout, or when its last caller has left. [Source.Close] waits for these goroutines.
//
// Start reading at [Source.Tools] and, for lookups, at lookup.go.
package sqltool
