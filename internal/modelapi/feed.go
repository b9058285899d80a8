package modelapi

import (
	"context"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

type itemKind int

const (
	textPiece itemKind = iota
	reasoningPiece
	thoughtEnd
	toolCall
	ended
)

// item is one event of a model call.
type item struct {
	choice   int
	kind     itemKind
	text     []byte
	protocol backend.Protocol // of the block
	block    backend.ReasoningBlock
	index    int // of the tool call
	call     backend.ToolCall
	response *backend.Response
	err      error
}

// maxItems limits the items that wait for a slow client. Adjacent pieces of a text are one item. The length of an answer is limited by
// the adapters.
const maxItems = 100_000

// feed passes the events of calls to the goroutine that writes them. A callback of an observer must not block, and a client may read
// slowly, so that a feed has a buffer.
type feed struct {
	ready chan struct{} // has a value if there are items

	mu    sync.Mutex
	items []item // guarded by mu
	over  bool   // the client is too slow; guarded by mu
}

func newFeed() *feed { return &feed{ready: make(chan struct{}, 1)} }

// observer returns the observer of a choice's call.
func (f *feed) observer(choice int) backend.Observer {
	return backend.Observer{
		Text:      func(piece string) { f.piece(choice, textPiece, piece) },
		Reasoning: func(piece string) { f.piece(choice, reasoningPiece, piece) },
		ReasoningBlock: func(p backend.Protocol, b backend.ReasoningBlock) {
			f.push(item{choice: choice, kind: thoughtEnd, protocol: p, block: b})
		},
		ToolCall: func(index int, c backend.ToolCall) {
			f.push(item{choice: choice, kind: toolCall, index: index, call: c})
		},
	}
}

func (f *feed) piece(choice int, kind itemKind, piece string) {
	f.mu.Lock()
	if n := len(f.items); n > 0 && f.items[n-1].choice == choice && f.items[n-1].kind == kind {
		f.items[n-1].text = append(f.items[n-1].text, piece...)
		f.mu.Unlock()
		return // there was an item, so ready has a value
	}
	f.mu.Unlock()
	f.push(item{choice: choice, kind: kind, text: []byte(piece)})
}

func (f *feed) push(it item) {
	f.mu.Lock()
	f.items = append(f.items, it)
	f.over = f.over || len(f.items) > maxItems
	f.mu.Unlock()
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// next waits for items. It returns none after the patience.
func (f *feed) next(ctx context.Context, patience time.Duration) ([]item, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.C:
		return nil, nil
	case <-f.ready:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return nil, errSlowClient
	}
	items := f.items
	f.items = nil
	return items, nil
}
