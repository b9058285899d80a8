// Command queue measures the jobs per second through feed, claim and finish, without a model. It compares them with asynq on the
// same redis-server in the same run.
//
// One op is one job: 1 KB is fed, the job is leased, and a result of 0.5 KB is committed. Ours calls pkg/statestore like the
// coordinator and the workers: one feeder with chunks of 500, and several workers with their own connections. Each worker has one
// claim loop (up to 256 jobs per call) and one committer (up to 64 results per call). asynq runs in its cheapest form: a handler
// that does nothing, no stored results, no retention.
//
// Arms take turns, round by round, on an emptied server, and are compared within a round. The command is a separate module, so
// that no other package depends on asynq. Start reading at main; ../README.md explains the output.
package main
