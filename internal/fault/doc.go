// Package fault has the kinds of errors that decide how a command ends: a mistake of the user, a server that does not
// answer, a paused batch, and failed jobs.
package fault
