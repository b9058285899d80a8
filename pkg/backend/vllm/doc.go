// Package vllm is the backend for a vLLM server.
//
// It owns what vLLM has beyond the chat protocol of package openaichat: the sign of a priority, session and request
// IDs, the health route, the tokenizer, and the server's load from its metrics. The chat itself, its failure model and
// its goroutines are openaichat's.
//
// URLs: vllm://host:port (port 8000 if none is given), vllm+http:// the same, vllm+https://host/prefix. The API key
// comes from BATCHAGENT_API_KEY, else VLLM_API_KEY. OPENAI_API_KEY is not used: it would send a paid account's key, in
// the clear, to whatever host the URL names.
//
// Start reading at [New].
package vllm
