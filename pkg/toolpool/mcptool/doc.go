// Package mcptool offers the tools of MCP servers (Model Context Protocol) to agents, through the official Go SDK.
//
// It owns a server's life: a process on standard input and output, or an address with streamable HTTP. After a server has ended, the
// next call restarts it, with growing waits. Its tools keep their schemas and have the names server.tool.
//
// A [Client] is safe for concurrent use. A server's process runs in its own group with a small environment. The group is killed when
// the session ends or [Client.Close] is called. If the worker is killed, servers see the end of their standard input; the protocol
// lets them exit then. Each session has one goroutine of this package, which ends with the session.
//
// Start reading at [Connect] and [Client.call].
package mcptool
