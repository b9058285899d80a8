package human

import (
	"fmt"
	"strconv"
	"time"
	"unicode"
)

// Count formats n with commas: 1,234,567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Span formats a duration: 0.4s, 12.3s, 4m05s, 2h07m, 3d04h.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		if tenths := d.Round(100 * time.Millisecond); tenths < time.Minute {
			return fmt.Sprintf("%.1fs", tenths.Seconds())
		}
		return "1m00s"
	case d < time.Hour:
		d = d.Truncate(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// MS formats milliseconds.
func MS(n int64) string { return Span(time.Duration(n) * time.Millisecond) }

// PerSecond formats a rate with about three digits: 0.042, 3.21, 48.3, 1,204.
func PerSecond(r float64) string {
	switch {
	case r <= 0:
		return "0"
	case r < 1:
		return strconv.FormatFloat(r, 'g', 2, 64)
	case r < 10:
		return strconv.FormatFloat(r, 'f', 2, 64)
	case r < 100:
		return strconv.FormatFloat(r, 'f', 1, 64)
	default:
		return Count(int64(r + 0.5))
	}
}

// Percent formats part of whole. It returns "0%" if whole is 0.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "0%"
	}
	return strconv.FormatInt(part*100/whole, 10) + "%"
}

// Plural formats n with the matching noun: 1 job, 2 jobs.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// FirstLine returns the beginning of a message, as one line of at most about n bytes. It removes control characters. It escapes
// those of the writing direction like [Visible].
func FirstLine(s string, n int) string {
	out := make([]rune, 0, n)
	size := 0
	for _, r := range s {
		if r == '\n' || r == '\r' || r == '\t' {
			r = ' '
		}
		if unicode.IsControl(r) {
			continue
		}
		shown := string(r)
		if directs(r) {
			shown = Visible(shown)
		}
		if size += len(shown); size > n {
			return string(out) + "…"
		}
		out = append(out, []rune(shown)...)
	}
	return string(out)
}
