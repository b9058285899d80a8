package coordinator

import (
	"time"

	"github.com/batchagent/batchagent/internal/human"
)

// All commands format numbers and times with these functions.
var (
	count     = human.Count
	span      = human.Span
	perSecond = human.PerSecond
	percent   = human.Percent
	plural    = human.Plural
	firstLine = human.FirstLine
)

// ms formats milliseconds for people.
func ms(n int64) string { return span(time.Duration(n) * time.Millisecond) }
