package coordinator

import (
	"time"

	"github.com/batchagent/batchagent/internal/human"
)

// Numbers and times are said in the same way everywhere.
var (
	count     = human.Count
	span      = human.Span
	perSecond = human.PerSecond
	percent   = human.Percent
	plural    = human.Plural
	firstLine = human.FirstLine
)

// ms writes milliseconds as people say them.
func ms(n int64) string { return span(time.Duration(n) * time.Millisecond) }
