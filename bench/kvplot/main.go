// Command kvplot draws the results of bench/kv. For each workload it shows the throughput by fixed number of agents. Level lines
// show no limit, pausing by size, and ours. A line is the median of the seeds or rounds; a bar or a band is their spread.
//
//	go run . -o ../results/kv.png ../results/kv.txt
//
// It is a separate module, so that no other package depends on a plotting library.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/perf/benchfmt"
	"gonum.org/v1/plot/vg/draw"
)

func main() {
	out := flag.String("o", "kv.png", "the `FILE` to draw: .png, .pdf, or .svg (which needs the font on the reader's machine)")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kvplot:", err)
		os.Exit(1)
	}
}

func run(out string, files []string) error {
	if len(files) == 0 {
		return errors.New("give the file with the output of bench/kv")
	}
	var measured []*workload
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		measured, err = read(f, name, measured)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if len(measured) == 0 {
		return fmt.Errorf("%v has no line of bench/kv", files)
	}
	for _, w := range measured {
		if len(w.sweep) == 0 {
			return fmt.Errorf("%v has no fixed number of agents for workload %s", files, w.name)
		}
	}
	return save(out, measured)
}

// read adds the runs of a file to the known workloads.
func read(r io.Reader, name string, known []*workload) ([]*workload, error) {
	in := benchfmt.NewReader(r, name)
	for in.Scan() {
		if line, ok := in.Result().(*benchfmt.Result); ok {
			known = add(known, line)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return known, nil
}

func save(out string, measured []*workload) (err error) {
	canvas, err := draw.NewFormattedCanvas(width, height(len(measured)), filepath.Ext(out)[min(1, len(filepath.Ext(out))):])
	if err != nil {
		return fmt.Errorf("draw %s: %w", out, err)
	}
	if err := picture(draw.New(canvas), measured); err != nil {
		return fmt.Errorf("draw %s: %w", out, err)
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = canvas.WriteTo(f)
	return err
}
