package hostile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// oddServer is the first argument that starts this test binary as a hostile MCP server.
const oddServer = "hostile-mcp-server"

// oddTools are its tools. Each one misbehaves in its own way.
var oddTools = []string{"endless", "huge", "deep", "noise", "wrong", "exit", "binary", "key", "error", "images"}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == oddServer {
		serveOdd()
		return
	}
	if len(os.Args) == 2 && os.Args[1] == leakyServer {
		serveLeaky()
		return
	}
	os.Exit(m.Run())
}

// mcpAttacks call each of them. A call ends with the server's answer, or when the server exits.
func mcpAttacks() []attack {
	all := make([]attack, 0, len(oddTools))
	for _, name := range oddTools {
		all = append(all, attack{"MCP server " + name, "odd__" + name, object{}, ""})
	}
	return all
}

func serveOdd() {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	say := func(id json.RawMessage, result string) {
		fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", id, result)
		_ = out.Flush()
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Name string }
		}
		if json.Unmarshal(in.Bytes(), &m) != nil || len(m.ID) == 0 {
			continue
		}
		switch m.Method {
		case "initialize":
			say(m.ID, `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"odd","version":"1"}}`)
		case "tools/list":
			var tools []string
			for _, name := range oddTools {
				tools = append(tools, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name))
			}
			say(m.ID, `{"tools":[`+strings.Join(tools, ",")+`]}`)
		case "tools/call":
			answerOdd(out, m.Params.Name, m.ID, say)
		default:
			say(m.ID, "{}")
		}
	}
}

func answerOdd(out *bufio.Writer, name string, id json.RawMessage, say func(json.RawMessage, string)) {
	text := func(s string) string { return `{"content":[{"type":"text","text":` + s + `}]}` }
	switch name {
	case "endless":
		fill(out, "x", 1<<40)
	case "huge":
		say(id, text(`"`+strings.Repeat("x", 300<<20)+`"`))
	case "deep":
		say(id, `{"structuredContent":`+strings.Repeat("[", 3_000_000)+strings.Repeat("]", 3_000_000)+`,"content":[]}`)
	case "noise":
		for range 50_000 {
			fmt.Fprintln(out, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"noise"}}`)
		}
		say(id, text(`"quiet"`))
	case "wrong":
		say(json.RawMessage(`"other"`), text(`"wrong"`))
		say(id, `{"content":7}`)
	case "exit":
		os.Exit(1)
	case "binary":
		say(id, text("\"\xff\xfe\\u0000\\ud800\""))
	case "key":
		say(id, text(`"`+strings.Repeat("x", 64<<10-20)+key+`"`))
	case "error":
		fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"error":{"code":1,"message":"%s"}}`+"\n", id, strings.Repeat("y", 1<<20))
		_ = out.Flush()
	case "images":
		say(id, `{"content":[`+strings.Repeat(`{"type":"image","data":"AAAA","mimeType":"`+"x"+`"},`, 100_000)+`{"type":"text","text":"z"}]}`)
	}
}

// The server offers every tool of the attack table.
func TestOddServerOffersAllAttackTools(t *testing.T) {
	pool, _ := worker(t)
	for _, name := range oddTools {
		_, found := pool.Lookup("odd__" + name)
		assert.True(t, found, name)
	}
}
