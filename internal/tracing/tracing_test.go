package tracing

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnvironmentSelectsTracing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		on   bool
		says string
	}{
		"nothing":                  {},
		"an endpoint":              {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"one for traces":           {env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"the exporter":             {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		"none":                     {env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		"no SDK":                   {env: map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		"the protocol":             {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, on: true},
		"another protocol":         {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, says: "4318"},
		"another exporter":         {env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, says: "zipkin"},
		"gRPC without an endpoint": {env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
	} {
		tracer, stop, err := Start(t.Context(), Config{
			Service: "test", Instance: "1", Getenv: func(k string) string { return c.env[k] }, Logger: slog.New(slog.DiscardHandler),
		})
		stop()
		if c.says != "" {
			require.ErrorContains(t, err, c.says, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c.on, tracer != nil, name)
	}
}
