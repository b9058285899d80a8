// Command probe is a health check for images without a shell. It requests one page and exits with 0 if the answer is a 2xx within
// three seconds. Otherwise it prints the reason to standard error and exits with 1.
//
//	probe http://127.0.0.1:9100/readyz
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	patience = 3 * time.Second
	// shown limits the printed part of a failed page, in bytes. Container engines keep a few KiB per check.
	shown = 300
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "probe: takes one URL, such as http://127.0.0.1:9100/readyz")
		os.Exit(2)
	}
	if err := probe(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// probe requests a page. It never uses a proxy.
func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, shown))
		return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return nil
}
