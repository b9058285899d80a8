// Package scrape reads a server's page of Prometheus metrics, for adapters that learn the load from it.
//
// It owns the parsing and the few sums that every server needs; which metric means what is the adapter's knowledge. It
// keeps no state and connects to nothing. Everything is safe for concurrent use.
package scrape

import (
	"bytes"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Page is a page of metrics by name.
type Page map[string]*dto.MetricFamily

// Parse reads a page in Prometheus' text format.
func Parse(page []byte) (Page, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(page))
}

// Samples returns the samples of the first of the names that is there. A name in the list stands only where the ones
// before it are missing.
func (p Page) Samples(names ...string) []Sample {
	for _, name := range names {
		if f := p[name]; f != nil && len(f.GetMetric()) > 0 {
			out := make([]Sample, len(f.GetMetric()))
			for i, m := range f.GetMetric() {
				out[i] = Sample{m}
			}
			return out
		}
	}
	return nil
}

// Sum adds the samples of the first of the names that is there; -1 if none is.
func (p Page) Sum(names ...string) float64 { return Sum(p.Samples(names...)) }

// Highest returns the highest sample of the first of the names that is there; -1 if none is.
func (p Page) Highest(names ...string) float64 { return Highest(p.Samples(names...)) }

// Sum adds samples; -1 if there are none.
func Sum(samples []Sample) float64 {
	if len(samples) == 0 {
		return -1
	}
	total := 0.0
	for _, s := range samples {
		total += s.Value()
	}
	return total
}

// Highest returns the highest of samples; -1 if there are none.
func Highest(samples []Sample) float64 {
	top := -1.0
	for _, s := range samples {
		top = max(top, s.Value())
	}
	return top
}

// Sample is one line of a page, or one histogram.
type Sample struct{ metric *dto.Metric }

// Value is a sample's value; of a histogram or summary the sum of what was observed.
func (s Sample) Value() float64 {
	switch m := s.metric; {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	case m.GetHistogram() != nil:
		return m.GetHistogram().GetSampleSum()
	case m.GetSummary() != nil:
		return m.GetSummary().GetSampleSum()
	default:
		return m.GetUntyped().GetValue()
	}
}

// Label returns a label's value, and whether the sample has the label.
func (s Sample) Label(name string) (string, bool) {
	for _, l := range s.metric.GetLabel() {
		if l.GetName() == name {
			return l.GetValue(), true
		}
	}
	return "", false
}

// Number reads a label that holds a whole number above 0; 0 if it does not.
func (s Sample) Number(label string) int {
	text, _ := s.Label(label)
	n, _ := strconv.Atoi(text)
	return max(n, 0)
}
