package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/server"
)

// tokenVariable holds the API token. A variable, unlike a flag, does not show in process lists.
const tokenVariable = "BATCHAGENT_API_TOKEN"

// minToken is the minimum length of the API token in characters. A shorter one can be guessed.
const minToken = 16

func tokenCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "make a token for serve",
		Description: "The token has 26 random characters. Set BATCHAGENT_API_TOKEN to it for the server and its clients, or save it for --token-file.",
		Action: func(c *cli.Context) error {
			if err := none(c); err != nil {
				return err
			}
			_, err := fmt.Fprintln(e.console.Stdout(), rand.Text())
			return err
		},
	}
}

func serveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve the HTTP API and the dashboard",
		Description: `The dashboard is at /, the API at /api/v1/ and its description at /openapi.json. Without a token the server listens on
127.0.0.1 only. The token is in BATCHAGENT_API_TOKEN or in a file. On an untrusted network put a TLS proxy in front.
SIGUSR1 sets the log level to debug, SIGUSR2 restores it.`,
		Flags: []cli.Flag{
			redisFlag(),
			&cli.StringFlag{Name: "listen", EnvVars: config.Env("listen"), Value: "127.0.0.1:8080", Usage: "`ADDRESS` to serve on"},
			tokenFileFlag(),
			&cli.BoolFlag{
				Name:  "without-token",
				Usage: "allow any --listen address without a token: for a container with a port published on 127.0.0.1 only",
			},
			&cli.Int64Flag{Name: "max-body-mb", EnvVars: config.Env("max-body-mb"), Value: 1024, Usage: "limit a submission to `N` MiB"},
			&cli.StringFlag{Name: "log-level", EnvVars: config.Env("log-level"), Value: "info", Usage: "debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", EnvVars: config.Env("log-format"), Value: "text", Usage: "text or json"},
		},
		Action: e.serve,
	}
}

func tokenFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "token-file", EnvVars: config.Env("token-file"), Usage: "`FILE` that holds the token of the API", DefaultText: tokenVariable}
}

// token returns the API token; "" if none is set.
func (e *env) token(c *cli.Context) (string, error) {
	file := c.String("token-file")
	if file == "" {
		return strings.TrimSpace(e.getenv(tokenVariable)), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", &fault.UsageError{Err: fmt.Errorf("--token-file: %w", err)}
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", &fault.UsageError{Err: fmt.Errorf("--token-file: %s is empty", file)}
	}
	return token, nil
}

func (e *env) serve(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	token, err := e.token(c)
	if err != nil {
		return err
	}
	if token != "" && len(token) < minToken {
		return &fault.UsageError{Err: fmt.Errorf("the API token has %d characters and needs %d at least; `coordinator token` makes one", len(token), minToken)}
	}
	if c.Int64("max-body-mb") < 1 {
		return &fault.UsageError{Err: fmt.Errorf("--max-body-mb is %d; it must be at least 1", c.Int64("max-body-mb"))}
	}
	log, level, err := config.AdjustableLogger(e.console.Stderr(), c.String("log-level"), c.String("log-format"))
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	defer config.LevelBySignal(log, level)()
	listener, err := server.Listen(c.Context, c.String("listen"), token != "" || c.Bool("without-token"))
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	defer listener.Close()
	store, err := e.connect(c)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, warning := range store.Warnings(c.Context) {
		e.console.Say("warning: " + warning)
	}
	s, err := server.New(server.Config{Store: store, Token: token, MaxBody: c.Int64("max-body-mb") << 20, Logger: log})
	if err != nil {
		return err
	}
	e.console.Say(fmt.Sprintf("serving http://%s with Redis at %s", listener.Addr(), store.Address()))
	if token == "" && c.Bool("without-token") {
		e.console.Say("warning: without a token, every client that reaches this address has full access; requests must be for 127.0.0.1 or localhost")
	}
	return s.Serve(c.Context, listener)
}
