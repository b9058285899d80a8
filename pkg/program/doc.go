// Package program runs the programs that are the agents of jobs.
//
// A program is any executable. It makes its model calls at a URL that it finds in its environment, and its answer is what it
// prints, or a file. docs/agents.md has the whole contract. The package knows neither Redis nor model servers: the caller opens
// the URL of each job.
//
// # Processes
//
// Each job has a process of its own ([Process]), below a keeper: a copy of this executable that is the reaper of everything that the
// program starts. When the program ends, or the job, or this process, the keeper kills what is left and exits. So nothing of
// a program survives its job, not even a daemon. On systems other than Linux the keeper is missing, and the program's process group is
// killed.
//
// A program may run in a sandbox or in a container ([Isolation]). Such a program cannot reach the loopback interface of the worker, so a copy of
// this executable inside forwards the address of the job to a Unix socket of the worker. A container does not end with the process that
// started it: there the copy ends it when the lock of the worker's folders is free, which means that the worker died.
//
// A program that serves many jobs ([Server]) is one process, and gets its jobs over a Unix socket.
//
// # Folders
//
// Each attempt has a folder of its own below a root that belongs to this process ([Folders]). It is removed when the attempt ends. The
// next start removes what a killed process left.
package program
