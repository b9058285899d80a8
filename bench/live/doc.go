// Command live measures a simulated or real server with the two workloads of the seed's Table 2:
//
//	one   one turn; the document is in the prompt
//	tool  two turns; the first calls read_file for the document, which many agents share
//
// All agents share a system prompt. Each has its own question, which comes before the document, so that the document is not part
// of the shared prefix. Each number of agents has two arms:
//
//	open      all agents live at once: the worker may not read the size of the KV cache
//	admitted  the worker admits agents by the size that the server reports
//
// It runs unchanged on a GPU server: start `vllm serve MODEL --enable-prompt-tokens-details` and pass -backend vllm://HOST:8000.
// vLLM reports cached tokens only with that flag; without it the hit rate is 0. -gpu-hour is the price of the machine per hour,
// from which the price of 1,000 agents is computed, in the same currency. Without -backend a simulated server runs in this
// process, and the output marks the run as simulated.
//
// The worker, the store and the tools run in this process, so a distant server costs its round trips. The model's answers have no
// influence on the run; see package realrun. Runs of one round follow one another. Each round rotates their order by one. No two
// runs share a prompt token.
package main
