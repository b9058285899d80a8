// Package batch defines batchagent's terms as types, and the state machine of a job.
//
// # Glossary
//
// The code and the documents use these words with these meanings only.
//
//	batch        one submission: a compiled spec and its inputs
//	spec         the user's description of a batch, as YAML or JSON; compiled, it has all that a worker needs
//	input        one row that the user gives; rendered, it becomes a prompt
//	ID           the user's own key of an input, and so of its job and its result; unique in a batch
//	carried      copied from an input into the result of its job
//	job          one input of a batch, and so one agent to run; its index is the position of its input
//	stage        a part of a batch: its jobs; the plan, which makes them; the reduction of their results
//	planner      the one job of the plan stage; its answer has the items, which become jobs
//	reducer      the one job of the reduce stage
//	attempt      one lease of a job by one worker
//	lease        a worker's right to run a job; Redis ends it unless the worker renews it
//	token        the number of a lease; Redis refuses writes with an older one (fencing)
//	takeover     a claim of a job after its lease expired
//	claim        taking jobs from Redis under new leases
//	release      giving a lease back, so that another worker can claim the job
//	agent        the loop of model calls and tool calls that runs one job
//	turn         one model call of an agent and the tool calls that it requested
//	journal      the turns of a job that are stored in Redis; a takeover resumes from it
//	result       the one committed outcome of a job
//	sink         where results are copied to: a file, a stream, a function
//	question     the hash of a job's request to the model; its result has the same hash
//	fingerprint  the hash of all that can change an answer: question, model, sampling, tools
//	reuse        taking the result of an earlier batch with the same fingerprint
//	twin         a job with the same question as another job of its batch
//	prefix       the leading tokens that prompts share; a server's cache keeps them
//	group        neighbours in the job stream that share a long prefix
//	parked       waiting for the worker that began the job's group
//	worker       the program that claims jobs and runs their agents
//	backend      a kind of model server, and its adapter
//	model server the process that answers model calls
//	slot         the right to have one model call in flight
//	admission    the decision how many agents may start
//	ledger       the scheduler's record of the KV cache that agents use
//	breaker      stops calls to a model that fails, until one call to it, a probe, is answered
//	pause        no model call starts: a breaker is open, or the batch has used up its budget
//	budget       the limit of tokens or dollars of a job or a batch
//	account      what a batch has used of its budget, and its reservations: what calls in flight may use
//	tool         a function that an agent may call
//	tool key     the hash of a tool call; equal calls with one key run once in the cluster
//	effect       a change outside of batchagent that a tool call makes
//	effect log   the record of a job's calls with effects: intended, done, or unknown
//	timeline     one life of a Redis server's data; positions of another timeline are invalid
//	session      all that one attempt uses: model, slots, tools, journal, budget
//
// The package is pure: it imports the standard library only, starts no goroutine and does no I/O. Every other package of the
// module may import it. The JSON forms of [Result], [Error] and [Usage] are a contract with users and scripts. Fields may be
// added. The meaning of a field never changes.
//
// # Invariants
//
// Code and tests cite these by number.
//
//	I1  no write with a stale token
//	I2  exactly one result per job of a sealed batch, for any schedule of crashes, pauses, lost replies and restarts
//	I3  the turns in a journal are contiguous, each once
//	I4  no job is lost: after faults stop, every batch ends
//	I5  attempts never exceed the limit; a release costs none
//	I6  one execution per tool key and sharing window, cluster-wide
//	I7  every queue, cache and buffer has a limit
//	I8  a slot is never held outside a model call
//	I9  secrets never reach Redis, logs, metrics or results
//	I10 a result belongs to the question it answers: the hash of the job's question is the one in its result
//	I11 untrusted input (a model's output, a spec, a web page) costs bounded time and memory
//	I12 a batch spends at most its budget plus the calls in flight
//
// Start reading at [Next].
package batch
