// Package confine runs computations that nothing can cancel in child processes with limits of CPU time and memory.
//
// A conversion of HTML, a function of SQLite or a program of a model runs until it ends, whatever its caller wants. In a child
// process it ends with its caller's context, with its limits, or with this process.
//
// [New] makes a [Task] at package level. The child is this program itself: New runs in it before main, serves the task and
// exits. So every program that links a task can run it. [Task.Do] takes an idle child or starts one. Children are bounded per
// task, reused while they are small, and leave after a minute without work.
//
// A child has an empty environment, the root as its folder, and no limits beyond time where the system is not Linux. Its
// standard input is a pipe of its parent: the child exits when that is closed, also in the middle of a computation.
package confine
