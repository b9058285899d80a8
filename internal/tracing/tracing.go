package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/internal/version"
)

// Scope names the spans' instrumentation.
const Scope = "github.com/batchagent/batchagent"

// lastWords bounds what the end of a process waits for a collector.
const lastWords = 3 * time.Second

// Config says who is traced.
type Config struct {
	Service  string // service.name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says otherwise
	Instance string // service.instance.id: the worker's ID
	Getenv   func(string) string
	Logger   *slog.Logger // is told, at most once a minute, that spans could not be sent
}

// Start begins to send spans if the environment asks for it: OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, or OTEL_TRACES_EXPORTER is otlp. OTEL_TRACES_EXPORTER=none and
// OTEL_SDK_DISABLED=true win over both. Everything else (headers, certificates, timeouts, sampler, batch sizes) the SDK reads
// from its variables itself: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
//
// The tracer is nil if it does not. stop sends what is left, for at most 3 s, and is never nil. An error is a setting that
// cannot be followed. Start sets the SDK's handler of errors, which is one per process.
func Start(ctx context.Context, cfg Config) (tracer trace.Tracer, stop func(), err error) {
	on, err := wanted(cfg.Getenv)
	if err != nil || !on {
		return nil, func() {}, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, func() {}, fmt.Errorf("start the export of traces: %w", err)
	}
	who, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(cfg.Service), semconv.ServiceInstanceID(cfg.Instance), semconv.ServiceVersion(version.String())),
		resource.WithFromEnv()) // the last one wins
	if err != nil {
		return nil, func() {}, errors.Join(fmt.Errorf("describe this process for traces: %w; look at OTEL_RESOURCE_ATTRIBUTES", err), exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(complaints(cfg.Logger))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(who), sdktrace.WithIDGenerator(IDs{}))
	return provider.Tracer(Scope), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			cfg.Logger.Warn("the last spans could not be sent", "error", err)
		}
	}, nil
}

// wanted reports whether the environment asks for traces.
func wanted(getenv func(string) string) (bool, error) {
	exporter := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER"))
	named := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	switch {
	case strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || exporter == "none" || exporter == "" && !named:
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; this program can send otlp, or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch p := getenv(name); p {
		case "":
		case "http/protobuf":
			return true, nil
		default:
			return false, fmt.Errorf("%s is %q; this program speaks http/protobuf, to which collectors listen on port 4318", name, p)
		}
	}
	return true, nil
}

// complaints says that spans could not be sent, now and then: a collector that is away must not fill the log.
func complaints(log *slog.Logger) otel.ErrorHandlerFunc {
	seldom := rate.NewLimiter(rate.Every(time.Minute), 1)
	return func(err error) {
		if seldom.Allow() {
			log.Warn("spans could not be sent; jobs go on without", "error", err)
		}
	}
}
