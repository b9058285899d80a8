// Command chaos runs a cluster of real processes under random faults, and counts lost and duplicate results.
//
// The cluster is redis-server with an append-only file, two vllmsim and four workers. Each batch has a feeder (`coordinator
// submit`) and a follower (`coordinator results --follow --out`). Each worker reaches Redis and its simulator through separate
// proxies (Shopify/toxiproxy). A fault strikes every 0.5 to 3 s; the seed selects it:
//
//	kill -9 of a worker, a feeder, a follower, a simulator or Redis, which restart later
//	SIGSTOP of a worker for longer than its lease
//	latency, low bandwidth, a half-open connection or a partition between a worker and Redis or its simulator
//	CLIENT KILL, SCRIPT FLUSH, a simulator that answers 503 to most requests
//
// Jobs have one to five turns, with a tool call in each turn but the last. Batches are submitted one after the other while faults
// strike. Feeders have a slow connection, so that faults can interrupt them. After the faults every batch must end. Then Redis
// and the collected files are compared with the inputs. The command exits with 1 if any job has no result or more than one,
// anywhere.
//
// A counter in front of each simulator finds repeated turns: a turn counts as executed twice if a simulator completed it twice,
// even if the client was gone. The agents' tool writes each execution to a file.
//
// With -programs the agents are programs, which this command is itself: a process for each job, or one process for all jobs of a worker
// (serve: true). A further fault is kill -9 of a process of a program. The command also exits with 1 if a fault cost a job more than one
// model call, a program diverged, a job failed, a fault repeated more than one execution of a tool call, or a program left a process or a file.
//
// With -rolling there are no faults. The workers are restarted one after the other with SIGTERM. The command also exits with 1 if
// a job spent an attempt or a turn was executed twice. It prints the throughput before and during each restart, and in the lease
// after it.
//
// The seed decides which faults strike, and when. It does not control the processes, so a run cannot be reproduced exactly;
// package sim can do that.
package main
