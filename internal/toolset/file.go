package toolset

import (
	"net/netip"
	"time"

	"github.com/batchagent/batchagent/pkg/program"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// File is the content of a tools.yaml. The zero File offers the built-in tools that need no setting.
type File struct {
	Path     string
	servers  []server
	commands []owntool.Command
	http     []owntool.HTTP
	sources  []source
	programs []program.Program
	settings []setting
	files    string // of programs: a folder, or s3://bucket/prefix

	noGet    bool
	get      builtin.GetConfig
	noSearch bool
	search   *searchKey // nil uses the first key in the environment
	eval     bool

	secrets []string // values of ${NAME}
}

// source is a database that is not open yet.
type source struct {
	config  sqltool.Config
	scheme  string
	noQuery bool
}

// server is an MCP server that is not running yet.
type server struct {
	name, command, dir, url string
	args, env               []string
	headers                 map[string]string
	start                   time.Duration
}

type searchKey struct {
	provider builtin.SearchProvider
	key      string
}

// setting overrides the defaults of a tool.
type setting struct {
	name     string
	line     int
	off      bool
	share    toolpool.Share
	ttl      time.Duration
	timeout  time.Duration
	maxBytes int

	maxTokens int
	limit     toolpool.Limit
	onUnknown toolpool.OnUnknown
}

func (s setting) apply(t toolpool.Tool) toolpool.Tool {
	if s.share != "" {
		t.Share, t.TTL = s.share, 0
	}
	if s.ttl > 0 {
		t.TTL = s.ttl
	}
	if s.timeout > 0 {
		t.Timeout = s.timeout
	}
	if s.maxBytes > 0 {
		t.MaxBytes = s.maxBytes
	}
	if s.maxTokens > 0 {
		t.MaxTokens = s.maxTokens
	}
	if s.limit != (toolpool.Limit{}) {
		t.Limit = s.limit
	}
	if s.onUnknown != "" {
		t.OnUnknown = s.onUnknown
	}
	return t
}

func prefix(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}
