// Package dial opens a backend by its URL.
//
// It owns only the list of URL schemes: each adapter defines the meaning of its URLs and the variables of its key.
// Neither [Open] nor [Probe] starts a goroutine.
//
//	vllm://host:port   vllm+https://host/prefix   a vLLM server
//	sglang://host:port sglang+https://host/prefix an SGLang server
//	dynamo://host:port dynamo+https://host/prefix an NVIDIA Dynamo frontend
//	anthropic://[host][/base]                     Anthropic's API; key: BATCHAGENT_API_KEY, else ANTHROPIC_API_KEY
//	bedrock://[region/][model]                    Amazon Bedrock; the AWS SDK's credentials
//	openai://[host][/base]                        OpenAI, or a provider with its fields; key: BATCHAGENT_API_KEY, else OPENAI_API_KEY
//	http(s)://host[:port][/base]                  any other server with OpenAI's chat completions; the same keys
package dial
