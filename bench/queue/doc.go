// Command queue measures how many jobs a second go through feed, claim and finish, with no model, and compares that
// with asynq on the same redis-server in the same run.
//
// One op is one job: 1 KB is fed, the job is leased, and a result of 0.5 KB is committed. Ours runs the verbs of
// pkg/statestore as the coordinator and the workers call them: one feeder with chunks of 500, and several workers,
// each with its own connections, one claim loop (up to 256 jobs a call) and one committer (up to 64 results a call).
// asynq runs in its cheapest form: a handler that does nothing, no result stored, nothing retained.
//
// Arms take turns, round by round, on an emptied server, and are compared within a round. It is a module of its own,
// so that nobody else depends on asynq. Start reading at main; ../README.md says how to read the output.
package main
