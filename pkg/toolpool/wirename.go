package toolpool

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// maxName is the longest tool name that servers accept, in bytes.
const maxName = 64

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_-]`)

// WireName returns the name under which a pool registers a tool and sends it to servers. Servers accept only letters,
// digits, _ and -. So "files.read", the tool read of the MCP server files, becomes "files__read". If the result is
// still invalid, WireName replaces the invalid characters and appends a hash of the name. A name without a dot is unchanged.
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

// SpecName returns the name that users write for a registered tool: "files.read" for "files__read".
func SpecName(wire string) string {
	if server, tool, ok := strings.Cut(wire, "__"); ok && server != "" && tool != "" {
		return server + "." + tool
	}
	return wire
}
