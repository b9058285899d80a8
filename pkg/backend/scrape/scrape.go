// Package scrape reads a server's page of Prometheus metrics, for adapters that derive the load from it.
//
// It owns the parsing and the sums that all servers need. The adapter knows the meaning of each metric. The package
// keeps no state and makes no connection. Everything is safe for concurrent use.
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

// Samples returns the samples of the first metric in names that has any.
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

// Sum adds the samples of the first metric in names that has any; -1 without samples.
func (p Page) Sum(names ...string) float64 { return Sum(p.Samples(names...)) }

// Highest returns the highest sample of the first metric in names that has any; -1 without samples.
func (p Page) Highest(names ...string) float64 { return Highest(p.Samples(names...)) }

// Sum adds samples; -1 without samples.
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

// Highest returns the highest of samples; -1 without samples.
func Highest(samples []Sample) float64 {
	top := -1.0
	for _, s := range samples {
		top = max(top, s.Value())
	}
	return top
}

// Sample is one line of a page, or one histogram.
type Sample struct{ metric *dto.Metric }

// Value returns a sample's value. For a histogram or summary it is the sum of the observations.
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

// Number returns the value of a label if it is a whole number above 0, and otherwise 0.
func (s Sample) Number(label string) int {
	text, _ := s.Label(label)
	n, _ := strconv.Atoi(text)
	return max(n, 0)
}
