package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/human"
)

// DefaultRedis is the Redis URL used when none is set.
const DefaultRedis = "redis://127.0.0.1:6379"

// ModelKeys are the environment variables that hold keys of model servers.
var ModelKeys = []string{"BATCHAGENT_API_KEY", "VLLM_API_KEY", "SGLANG_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"}

// Keys are the environment variables that hold secrets of this program, including ModelKeys.
var Keys = append(slices.Clone(ModelKeys),
	"BATCHAGENT_REDIS_PASSWORD", "BATCHAGENT_API_TOKEN",
	"BRAVE_API_KEY", "SERPAPI_API_KEY", "TAVILY_API_KEY",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK",
)

// Env returns the environment variables of a flag: --tools-root is also BATCHAGENT_TOOLS_ROOT.
func Env(flag string) []string {
	return []string{"BATCHAGENT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// Logger returns a logger that writes records of level (debug, info, warn, error) and above to w, as text or json.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	log, _, err := AdjustableLogger(w, level, format)
	return log, err
}

// AdjustableLogger is [Logger] with a level that can change at run time.
func AdjustableLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	l := new(slog.LevelVar)
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("the log level %q is none of debug, info, warn and error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), l, nil
	case "json":
		return slog.New(slog.NewJSONHandler(human.VisibleWriter(w), o)), l, nil
	}
	return nil, nil, fmt.Errorf("the log format %q is neither text nor json", format)
}

// RedisURL checks the form of a Redis URL. If the URL has no password, RedisURL adds the one in BATCHAGENT_REDIS_PASSWORD.
// Errors do not show the password.
func RedisURL(raw string, getenv func(string) string) (string, error) {
	schemes := []string{"redis", "rediss", "unix", "redis-cluster", "redis-sentinel"}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || !slices.Contains(schemes, scheme) {
		return "", fmt.Errorf("a Redis URL starts with one of %s://, such as %s", strings.Join(schemes, "://, "), DefaultRedis)
	}
	if rest == "" {
		return "", fmt.Errorf("the Redis URL %s:// names no server; one looks like %s", scheme, DefaultRedis)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", malformed(raw, err)
	}
	password := getenv("BATCHAGENT_REDIS_PASSWORD")
	if _, has := u.User.Password(); !has && password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
		return u.String(), nil
	}
	return raw, nil
}

// malformed returns the error for a URL that cannot be parsed. It hides the parser's message if that may quote the password.
func malformed(raw string, err error) error {
	if strings.Contains(raw, "@") {
		return errors.New("the Redis URL cannot be parsed; characters such as / and # in a password must be percent-encoded, or give the password in BATCHAGENT_REDIS_PASSWORD")
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("the Redis URL cannot be parsed: %w; one looks like %s", err, DefaultRedis)
}

// Redact returns a URL without its credentials, for display. It returns a placeholder if the URL cannot be parsed.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a URL that cannot be parsed)"
	}
	u.User = nil
	return u.String()
}
