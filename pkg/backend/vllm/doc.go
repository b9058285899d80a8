// Package vllm is the backend for a vLLM server.
//
// It owns vLLM's features beyond the chat protocol of package openaichat: the sign of a priority, session and request
// IDs, the health route, the tokenizer, and the server's load from its metrics. Package openaichat owns the chat
// itself, its failure model and its goroutines.
//
// URLs: vllm://host:port (the default port is 8000), vllm+http:// the same, vllm+https://host/prefix. The API key comes
// from BATCHAGENT_API_KEY or, if that is empty, VLLM_API_KEY. OPENAI_API_KEY is not used: it would send a paid
// account's key, in clear text, to any host in the URL.
//
// Start reading at [New].
package vllm
