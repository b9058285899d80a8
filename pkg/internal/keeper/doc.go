// Package keeper runs a program together with all that it starts, and ends them together.
//
// On Linux a keeper is a copy of this executable between the caller and the program. It is the reaper of every process below it, so that
// no process escapes it, not even one that leaves its process group and its session. When the program has ended, or the caller closes
// the lifeline, or the caller dies, the keeper kills what is left and exits. On other systems only the program's process group is
// killed.
//
// The package imports almost nothing, so that a keeper starts before the rest of the executable is initialized.
package keeper
