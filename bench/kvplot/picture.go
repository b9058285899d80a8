package main

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	columns   = 2
	width     = 26 * vg.Centimeter
	rowHeight = 8.5 * vg.Centimeter
)

func height(panels int) vg.Length { return rowHeight * vg.Length((panels+columns-1)/columns) }

// The colours of Okabe and Ito are distinguishable for people with most kinds of colour blindness
// (https://jfly.uni-koeln.de/color/).
var (
	black  = color.RGBA{40, 40, 40, 255}
	blue   = color.RGBA{0, 114, 178, 255}
	orange = color.RGBA{230, 159, 0, 255}
	red    = color.RGBA{213, 94, 0, 255}
)

// picture draws a panel for each workload.
func picture(to draw.Canvas, measured []*workload) error {
	to.SetColor(color.White)
	to.Fill(to.Path())
	tiles := draw.Tiles{
		Rows: (len(measured) + columns - 1) / columns, Cols: columns,
		PadX: 8 * vg.Millimeter, PadY: 8 * vg.Millimeter, PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter,
		PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter,
	}
	for i, w := range measured {
		panel, err := w.panel(i == 0)
		if err != nil {
			return err
		}
		panel.Draw(tiles.At(to, i%columns, i/columns))
	}
	return nil
}

// panel draws one workload. A single legend, in one panel, serves all.
func (w *workload) panel(legend bool) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = w.name
	p.X.Label.Text, p.Y.Label.Text = "agents at a time", "jobs per hour"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, numbers(w.sweep)
	p.Y.Min, p.Y.Tick.Marker = 0, plot.TickerFunc(rates)
	p.Legend.YOffs = vg.Centimeter / 2

	first, last := float64(w.sweep[0].agents), float64(w.sweep[len(w.sweep)-1].agents)
	if first == last {
		first, last = first/2, last*2
	}
	line, points, err := plotter.NewLinePoints(w)
	if err != nil {
		return nil, err
	}
	line.Color, points.Color, points.Shape = black, black, draw.CircleGlyph{}
	bars, err := plotter.NewYErrorBars(w)
	if err != nil {
		return nil, err
	}
	bars.Color = black
	p.Add(line, points, bars)
	if legend {
		p.Legend.Add("a fixed number", line, points)
	}
	for _, level := range []struct {
		arm    string
		color  color.RGBA
		dashes []vg.Length
	}{
		{"unlimited", red, []vg.Length{vg.Points(2), vg.Points(3)}},
		{"pause-by-size", orange, []vg.Length{vg.Points(6), vg.Points(3)}},
		{"ours", blue, nil},
	} {
		s, ran := w.arms[level.arm]
		if !ran {
			continue
		}
		band, err := plotter.NewPolygon(plotter.XYs{{X: first, Y: s.low()}, {X: last, Y: s.low()}, {X: last, Y: s.high()}, {X: first, Y: s.high()}})
		if err != nil {
			return nil, err
		}
		band.Color = color.NRGBA{level.color.R, level.color.G, level.color.B, 40}
		band.LineStyle.Width = 0
		at, err := plotter.NewLine(plotter.XYs{{X: first, Y: s.median()}, {X: last, Y: s.median()}})
		if err != nil {
			return nil, err
		}
		at.Color, at.Width, at.Dashes = level.color, vg.Points(1.5), level.dashes
		p.Add(band, at)
		if legend {
			p.Legend.Add(level.arm, at)
		}
	}
	p.Y.Max *= 1.05
	return p, nil
}

// numbers puts ticks at the measured numbers of agents. It labels those that are far enough from the previous label.
func numbers(sweep []spread) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	whole := math.Log(float64(sweep[len(sweep)-1].agents) / float64(sweep[0].agents))
	named := math.Inf(-1)
	for _, s := range sweep {
		tick, at := plot.Tick{Value: float64(s.agents)}, math.Log(float64(s.agents))
		if at-named >= 0.06*whole {
			tick.Label, named = strconv.Itoa(s.agents), at
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// rates returns the default ticks without meaningless digits.
func rates(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label = strconv.FormatFloat(t.Value, 'f', -1, 64)
		}
	}
	return ticks
}

// Len and the methods below implement the interfaces of the plotters.
func (w *workload) Len() int { return len(w.sweep) }

func (w *workload) XY(i int) (x, y float64) { return float64(w.sweep[i].agents), w.sweep[i].median() }

func (w *workload) YError(i int) (low, high float64) {
	s := w.sweep[i]
	return s.median() - s.low(), s.high() - s.median()
}
