package worker

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the endpoints for operators: /healthz (the process runs), /readyz (jobs are claimed), /statusz (the
// heartbeat record as JSON) and /metrics.
func (w *Worker) Handler(g prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		pauses := w.Pauses()
		switch {
		case w.draining():
			http.Error(rw, "draining: no more jobs are claimed", http.StatusServiceUnavailable)
		case !w.Ready() && len(pauses) > 0:
			http.Error(rw, "not ready: the backend "+w.cfg.Backend.Endpoint()+" is "+pauses[0].String(), http.StatusServiceUnavailable)
		default:
			_, _ = rw.Write([]byte("ready\n"))
		}
	})
	mux.HandleFunc("GET /statusz", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(w.Status())
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	return mux
}
