// Package human writes numbers, times and messages in the short forms that people read, the same on terminals and pages.
//
// Its functions are pure and safe for concurrent use.
package human
