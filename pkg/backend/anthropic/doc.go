// Package anthropic is the backend for Anthropic's Messages API, and for servers that speak it.
//
// It owns the mapping of a request to messages, blocks and cache marks, of the stream's events to a response, and of
// statuses and error bodies to classes. The official SDK makes the HTTP request and decodes events; its retries are
// off, because the agent retries turns. What the protocol shares with Converse is in package blocks.
//
// URLs: anthropic:// (api.anthropic.com), anthropic://host/base, and anthropic+http://host:port for a server without
// TLS. The key comes from BATCHAGENT_API_KEY, else ANTHROPIC_API_KEY, which is never sent unencrypted to another
// machine.
//
// # Failure model
//
// A stream without a stop reason is Transient, whatever else it said. pause_turn belongs to tools that the server
// runs, and none are asked for, so it is Transient too. A schema that the server does not take is left away for that
// model from then on and said in the log: the agent checks answers anyway.
//
// No goroutine outlives a call. Start reading at [Backend.Generate].
package anthropic
