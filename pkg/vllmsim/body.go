package vllmsim

import (
	"strconv"

	"github.com/batchagent/batchagent/pkg/vllmsim/internal/sample"
)

// appendBody appends an answer as one unstreamed response body.
func appendBody(dst []byte, id string, created int64, model, fingerprint string, a *answer, u *usage) []byte {
	dst = append(dst, `{"id":`...)
	dst = sample.AppendString(dst, id)
	dst = append(dst, `,"object":"chat.completion","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"model":`...)
	dst = sample.AppendString(dst, model)
	dst = append(dst, `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	called := a.call != nil && a.named()
	if called && !a.required {
		dst = append(dst, "null"...)
	} else {
		dst = sample.AppendString(dst, a.content())
	}
	dst = append(dst, `,"refusal":null,"annotations":null,"audio":null,"function_call":null`...)
	if called {
		dst = append(dst, `,"tool_calls":[{"id":`...)
		dst = sample.AppendString(dst, a.call.id)
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = sample.AppendString(dst, a.call.name)
		dst = append(dst, `,"arguments":`...)
		dst = sample.AppendString(dst, a.text)
		dst = append(dst, `}}]`...)
	}
	dst = append(dst, `,"reasoning":null},"logprobs":null,"finish_reason":`...)
	dst = sample.AppendString(dst, a.finish)
	dst = append(dst, `,"stop_reason":`...)
	dst = appendStop(dst, a.stop)
	dst = append(dst, `,"token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":`...)
	dst = sample.AppendString(dst, fingerprint)
	dst = append(dst, `,"usage":`...)
	dst = appendUsage(dst, u, true)
	return append(dst, `,"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}`...)
}
