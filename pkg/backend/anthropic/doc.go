// Package anthropic is the backend for Anthropic's Messages API, and for other servers with that API.
//
// It owns the mapping of a request to messages, blocks and cache marks, of the stream's events to a response, and of
// statuses and error bodies to classes. Package blocks holds the code shared with Converse. The
// official SDK is not used, because it took a quarter of the processor time of a first build, for one call and six kinds
// of events.
//
// URLs: anthropic:// (api.anthropic.com), anthropic://host/base, and anthropic+http://host:port for a server without
// TLS. The key comes from BATCHAGENT_API_KEY, else ANTHROPIC_API_KEY, which is never sent unencrypted to another
// machine.
//
// # Failure model
//
// A stream without a stop reason is Transient, whatever its content. pause_turn is Transient too: it belongs to
// server-side tools, and this adapter requests none. If the server refuses a schema, later calls to that model omit
// schemas, and the log records it once. The agent checks answers anyway.
//
// No goroutine outlives a call. Start reading at [Backend.Generate].
package anthropic
