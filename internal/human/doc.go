// Package human formats numbers, times and messages in short forms for people, the same on terminals and pages.
//
// Its functions are pure and safe for concurrent use.
package human
