// Package terminal has everything that is printed: progress, tables, wording and exit statuses.
//
// Start reading at [Console].
package terminal
