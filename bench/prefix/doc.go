// Command prefix measures how often a cluster computes the prefix that a group of jobs shares.
//
// It runs the real programs: redis-server, `coordinator submit` and `coordinator results --follow --out`, and for each node a worker
// with its own vllmsim. The jobs are questions about documents; each prompt is a document and then a question. Arms:
//
//	nodes=k/grouped   the inputs are grouped by document
//	nodes=k/shuffled  the same inputs in random order
//
// A prefill is a job of whose prompt less than half was cached. The ideal is one prefill per document. Prefills and nodes per document
// are counts of the results, so other load on the machine hardly changes them. It does change wall times.
//
// -programs runs the coordinator, worker and vllmsim of another version.
package main
