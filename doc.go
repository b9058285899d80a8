// Package batchagent runs one LLM-agent task over many inputs, on one machine or on a cluster of workers beside vLLM
// or SGLang servers. README.md says how to use it, ARCHITECTURE.md how it works.
package batchagent
