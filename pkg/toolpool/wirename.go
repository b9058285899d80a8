package toolpool

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// maxName is how long a tool's name may be for servers, in bytes.
const maxName = 64

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_-]`)

// WireName is the name under which a pool registers a tool and servers know it. Servers accept letters, digits, _ and
// - alone, so "files.read", the tool read of the MCP server files, becomes "files__read". A name that would still not
// be accepted gets its odd characters replaced and ends with a hash, which keeps it apart from others. A name without
// a dot stays as it is.
func WireName(name string) string {
	server, tool, dotted := strings.Cut(name, ".")
	if !dotted {
		return name
	}
	wire := server + "__" + tool
	fit := notInNames.ReplaceAllString(wire, "_")
	if fit == wire && len(fit) <= maxName {
		return fit
	}
	sum := sha256.Sum256([]byte(name))
	end := "_" + hex.EncodeToString(sum[:4])
	return fit[:min(len(fit), maxName-len(end))] + end
}

// SpecName is the name by which users know a registered tool: "files.read" for "files__read".
func SpecName(wire string) string {
	if server, tool, ok := strings.Cut(wire, "__"); ok && server != "" && tool != "" {
		return server + "." + tool
	}
	return wire
}
