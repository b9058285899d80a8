package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser starts a headless Chromium, or skips the test without one. Errors in the browser's console fail the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium is installed (Debian: apt-get install chromium), so the pages are not checked")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has no sandbox for root
	}
	alloc, closeAlloc := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, closeTab := chromedp.NewContext(alloc)
	ctx, expire := context.WithTimeout(ctx, time.Minute)
	messages := chromedp.Console(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for m := range messages {
			// The network logs an error for each failed request. Tests cause some on purpose, so these are ignored.
			if m.IsException() || m.Type == "error" && m.Source != "network" {
				t.Errorf("the browser reports an error: %s", m)
			}
		}
	})
	t.Cleanup(func() {
		expire()
		closeTab()
		closeAlloc()
		reading.Wait()
	})
	return ctx
}

// looks lists the colour schemes and screens for the checks of every page.
var looks = []struct {
	name, scheme string
	width        int64
	mobile       bool
}{{"light", "light", 1280, false}, {"dark", "dark", 1280, false}, {"phone", "light", 390, true}, {"phone-dark", "dark", 390, true}}

// TestScreenshots keeps pictures of the pages as test output: `go test ./internal/server -run Screenshots -artifacts`.
func TestScreenshots(t *testing.T) {
	ctx := browser(t)
	w := serve(t, func(c *Config) { c.Token = "t0ken" })
	running, done := w.scene()
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(w.url+"/batches/"+string(done)),
		chromedp.WaitVisible("#token"),
	))
	shoot(t, ctx, "login", "")
	require.NoError(t, chromedp.Do(ctx,
		chromedp.SendKeys("#token", w.token+"\n"),
		chromedp.WaitVisible("#progress"),
	))
	at, err := chromedp.Run(ctx, chromedp.Location())
	require.NoError(t, err)
	assert.Equal(t, w.url+"/batches/"+string(done), at, "the login redirects to the requested page")
	for _, p := range []struct{ name, path string }{
		{"batches", "/"},
		{"batch-running", "/batches/" + string(running)},
		{"batch-done", "/batches/" + string(done)},
		{"job-running", "/batches/" + string(running) + "/jobs/210"},
		{"job-failed", "/batches/" + string(done) + "/jobs/10"},
		{"workers", "/workers"},
		{"tools", "/tools"},
		{"missing", "/batches/b_01k0000000000000000000000a"},
	} {
		shoot(t, ctx, p.name, w.url+p.path)
	}
}

// shoot takes a picture in every look and checks that no content overflows the window's width.
func shoot(t *testing.T, ctx context.Context, name, url string) {
	t.Helper()
	if url != "" {
		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitReady("main")))
	}
	for _, look := range looks {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: look.width, Height: 844, DeviceScaleFactor: 1, Mobile: look.mobile,
		})
		require.NoError(t, err)
		_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}},
		})
		require.NoError(t, err)
		sticksOut, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`))
		require.NoError(t, err)
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		require.NoError(t, err)
		assert.False(t, sticksOut, "%s is wider than the window in the look %s", name, look.name)
		require.Greater(t, len(picture), 2000)
		file := filepath.Join(t.ArtifactDir(), fmt.Sprintf("%s-%s.png", name, look.name))
		require.NoError(t, os.WriteFile(file, picture, 0o600))
	}
}

// An open page follows changes, and its button works.
func TestOpenPageIsUpdated(t *testing.T) {
	ctx := browser(t)
	w := serve(t, nil)
	id := w.batch("alive", 4)
	until := func(expression string) {
		t.Helper()
		// While a page is replaced by another one, evaluations in it fail, so errors are retried.
		require.Eventually(t, func() bool {
			yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
			return err == nil && yes
		}, time.Minute, 20*time.Millisecond, expression)
	}
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(w.url+"/batches/"+string(id)),
		chromedp.WaitVisible(`main[data-connected]`),
	))
	until(`document.querySelector("main").innerText.includes("0 of 4")`)
	w.finish(w.claim(id, 1))
	until(`document.querySelector("main").innerText.includes("1 of 4")`)
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(window.confirm = (question) => question.startsWith("Cancel this batch?")) && true`))
	require.NoError(t, err)
	// In one step, because an update may replace the button between the search and the click.
	_, err = chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector("button.danger").click() ?? true`))
	require.NoError(t, err)
	until(`document.querySelector("h1").innerText.includes("cancelled") && document.querySelector("main").innerText.includes("cancelled 3")`)
	info, err := w.store.Info(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 3, info.Counts.Cancelled)
}

// Without its script a page shows the same content.
func TestPageWithoutScript(t *testing.T) {
	ctx := browser(t)
	w := serve(t, nil)
	running, _ := w.scene()
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(w.url+"/batches/"+string(running))))
	html, err := chromedp.Run(ctx, chromedp.OuterHTML("main"))
	require.NoError(t, err)
	for _, says := range []string{"paper-extraction", "210 of 400", "Timeline", "Slowest jobs", "OutputInvalid", "Cancel batch"} {
		assert.Contains(t, html, says)
	}
	assert.NotContains(t, html, "data-connected")
}
