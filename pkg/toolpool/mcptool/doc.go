// Package mcptool offers the tools of MCP servers (Model Context Protocol) to agents, through the official Go SDK.
//
// It owns a server's life: a process on standard input and output, or an address that speaks streamable HTTP. A server
// that ends is started again at the next call, with growing waits. Its tools keep their schemas and appear as
// server.tool.
//
// A [Client] is safe for concurrent use. A server's process runs in a group of its own with a small environment; the
// group is killed when the session ends or [Client.Close] is called. If the worker is killed, servers see the end of
// their standard input, on which the protocol lets them exit. Each session has one goroutine of ours, which ends with
// it.
//
// Start reading at [Connect] and [Client.call].
package mcptool
