package scrape

import "testing"

// Any page of metrics gives sums or an error.
func FuzzParse(f *testing.F) {
	f.Add([]byte("# TYPE a counter\na{x=\"1\"} 2 3\na 1e400\n"))
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum NaN\nh_count 1\n"))
	f.Add([]byte("a 1\na 1\n# HELP a \\\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		page, err := Parse(data)
		if err != nil {
			return
		}
		for name := range page {
			page.Sum(name)
			page.Highest(name)
			for _, s := range page.Samples(name) {
				s.Label("le")
				s.Number("le")
			}
		}
	})
}
