package openaichat

import "strings"

// The finish reasons that are handled, in the protocol's terms.
const (
	finishStop    = "stop"
	finishCalls   = "tool_calls"
	finishLength  = "length" // the turn was cut
	finishRefused = "content_filter"
	finishAborted = "abort" // the engine aborted the request
)

// reasons maps the finish reasons of servers and of models behind gateways, in lower case, to the protocol's.
var reasons = map[string]string{
	"stop": finishStop, "eos": finishStop, "eos_token": finishStop, "end_turn": finishStop, "stop_sequence": finishStop, "complete": finishStop,
	"completed": finishStop, "stop_token": finishStop, "end": finishStop, "eod": finishStop, "finish": finishStop, "finished": finishStop,

	"tool_calls": finishCalls, "tool_call": finishCalls, "tool_use": finishCalls, "function_call": finishCalls, "function_calls": finishCalls,

	"length": finishLength, "max_tokens": finishLength, "max_output_tokens": finishLength, "max_new_tokens": finishLength,
	"model_length": finishLength, "max_length": finishLength, "model_context_window_exceeded": finishLength, "token_limit": finishLength,

	"content_filter": finishRefused, "content_filtered": finishRefused, "safety": finishRefused, "refusal": finishRefused,
	"recitation": finishRefused, "prohibited_content": finishRefused, "blocklist": finishRefused, "spii": finishRefused,
	"sensitive": finishRefused, "guardrail_intervened": finishRefused,

	"abort": finishAborted, "aborted": finishAborted, "error": "error", "cancelled": "cancelled", "canceled": "cancelled",
	"insufficient_system_resource": "insufficient_system_resource", "network_error": "network_error",
	"malformed_function_call": "malformed_function_call", "timeout": "timeout", "unexpected_tool_call": "unexpected_tool_call",

	"null": "", "none": "", "finish_reason_unspecified": "", "unspecified": "",
}

// reasonOf returns the protocol's term for a finish reason. "" means none yet. An unknown reason is returned in lower case.
func reasonOf(s string) string {
	if s == "" || s == finishStop || s == finishCalls {
		return s
	}
	if strings.HasPrefix(s, "{") { // {"type":"stop","matched":…}
		_, s, _ = strings.Cut(s, `"type"`)
		s, _, _ = strings.Cut(strings.TrimLeft(s, `: "`), `"`)
	}
	lower := strings.ToLower(strings.ReplaceAll(s, "-", "_"))
	if known, ok := reasons[lower]; ok {
		return known
	}
	return lower
}

// isFailure reports whether a reason is known to mean that the model did not end the turn.
func isFailure(reason string) bool {
	known, ok := reasons[reason]
	return ok && known != finishStop && known != finishCalls && known != finishLength && known != finishRefused
}
