// Package confine runs computations that nothing can cancel in child processes with limits of CPU time and memory.
//
// A conversion of HTML, a SQLite function or a model's program runs until it ends; its caller cannot stop it. In a
// child process it ends with its caller's context, at its limits, or with this process.
//
// [New] creates a [Task] at package level. The child is this program itself: in the child, New runs before main, serves the task and
// exits. So every program that links a task can run it. [Task.Do] takes an idle child or starts one. The number of children per task is
// limited. Children are reused while they are small, and exit after a minute without work.
//
// A child has an empty environment and the root as its folder. On systems other than Linux it has no limit beside time.
// Its standard input is a pipe from its parent. The child exits when the pipe is closed, even during a computation.
package confine
