// Command live measures a server, simulated or real, with the two workloads of the seed's Table 2:
//
//	one   one turn; the document is in the prompt
//	tool  two turns; the first calls read_file for the document, which many agents share
//
// All agents share a system prompt; each has a question of its own, which comes before the document, so that the document is not
// part of the shared prefix. For each number of agents there are two arms:
//
//	open      all agents live at once: the worker may not read the size of the KV cache
//	admitted  the worker admits agents by the size that the server tells
//
// It runs unchanged on a GPU server: start `vllm serve MODEL --enable-prompt-tokens-details` and give -backend vllm://HOST:8000.
// The flag of vLLM is what makes it tell cached tokens; without, the hit rate is 0. With -gpu-hour the price of the machine's
// hour is turned into that of 1,000 agents, in the same currency. Without -backend a simulated server is started in this process
// and the output says so.
//
// The worker, the store and the tools run in this process, so a server far away costs its round trips. The model's answers decide
// nothing; see package realrun. Runs of one round follow one another, the order turned by one each round, and no run shares a
// token of its prompts with another.
package main
