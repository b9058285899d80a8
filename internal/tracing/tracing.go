package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/batchagent/batchagent/internal/version"
	"github.com/batchagent/batchagent/pkg/redact"
)

// Scope is the instrumentation scope of all spans.
const Scope = "github.com/batchagent/batchagent"

// lastWords is the longest time for which the end of a process waits for a collector.
const lastWords = 3 * time.Second

// Config describes the traced process.
type Config struct {
	Service  string // service.name; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override it
	Instance string // service.instance.id: the worker's ID
	Getenv   func(string) string
	Logger   *slog.Logger // warns about failed exports, at most once a minute
}

// Start sends spans if the environment enables traces: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set,
// or OTEL_TRACES_EXPORTER is otlp. OTEL_TRACES_EXPORTER=none and OTEL_SDK_DISABLED=true override both. The client and the SDK
// read all other settings (headers, certificates, timeouts, sampler, batch sizes) from the variables of OpenTelemetry:
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
//
// The tracer is nil if traces are off. stop sends the remaining spans, for at most 3 s, and is never nil. Start returns an error
// for a setting that it does not support. Start sets the SDK's error handler, which is global to the process.
func Start(ctx context.Context, cfg Config) (tracer trace.Tracer, stop func(), err error) {
	on, err := wanted(cfg.Getenv)
	if err != nil || !on {
		return nil, func() {}, err
	}
	client, err := newClient(cfg.Getenv)
	if err != nil {
		return nil, func() {}, fmt.Errorf("start the export of traces: %w", err)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, func() {}, fmt.Errorf("start the export of traces: %w", err)
	}
	who, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(cfg.Service), semconv.ServiceInstanceID(cfg.Instance), semconv.ServiceVersion(version.String())),
		resource.WithFromEnv()) // the last source wins
	if err != nil {
		return nil, func() {}, errors.Join(fmt.Errorf("describe this process for traces: %w; look at OTEL_RESOURCE_ATTRIBUTES", err), exporter.Shutdown(ctx))
	}
	secrets := headerValues(cfg.Getenv)
	otel.SetErrorHandler(complaints(cfg.Logger, secrets))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(who), sdktrace.WithIDGenerator(IDs{}))
	return provider.Tracer(Scope), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			cfg.Logger.Warn("the last spans could not be sent", "error", secrets.Error(err))
		}
	}, nil
}

// wanted reports whether the environment enables traces.
func wanted(getenv func(string) string) (bool, error) {
	exporter := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER"))
	named := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	switch {
	case strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || exporter == "none" || exporter == "" && !named:
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; set it to otlp or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch p := getenv(name); p {
		case "":
		case "http/protobuf":
			return true, nil
		default:
			return false, fmt.Errorf("%s is %q; set it to http/protobuf (collectors listen on port 4318)", name, p)
		}
	}
	return true, nil
}

// headerValues returns the values of the headers that are sent to the collector. Its answers may repeat them.
func headerValues(getenv func(string) string) *redact.Secrets {
	var values []string
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for pair := range strings.SplitSeq(getenv(name), ",") {
			_, value, _ := strings.Cut(pair, "=")
			if decoded, err := url.PathUnescape(value); err == nil {
				value = decoded
			}
			for _, scheme := range []string{"Bearer ", "Basic "} {
				value = strings.TrimPrefix(value, scheme)
			}
			values = append(values, value)
		}
	}
	return redact.New(values...)
}

// complaints returns an error handler that logs failed exports, at most once a minute. An unreachable collector must not fill the
// log.
func complaints(log *slog.Logger, secrets *redact.Secrets) otel.ErrorHandlerFunc {
	seldom := rate.NewLimiter(rate.Every(time.Minute), 1)
	return func(err error) {
		if seldom.Allow() {
			log.Warn("spans could not be sent; jobs continue without them", "error", secrets.Error(err))
		}
	}
}
