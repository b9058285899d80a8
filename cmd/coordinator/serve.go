package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/internal/server"
)

// tokenVariable holds the token of the API, so that it is in no process list.
const tokenVariable = "BATCHAGENT_API_TOKEN"

// minToken is how many characters the API's token has at least: a shorter one can be guessed.
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
this machine alone. The token is in BATCHAGENT_API_TOKEN or in a file; put a proxy with TLS before it if others listen in.
SIGUSR1 makes the log as detailed as --log-level debug, SIGUSR2 what it was.`,
		Flags: []cli.Flag{
			redisFlag(),
			&cli.StringFlag{Name: "listen", EnvVars: config.Env("listen"), Value: "127.0.0.1:8080", Usage: "`ADDRESS` to serve on"},
			tokenFileFlag(),
			&cli.BoolFlag{
				Name:  "without-token",
				Usage: "let --listen be any address although there is no token: for a container whose port is published on 127.0.0.1 alone",
			},
			&cli.Int64Flag{Name: "max-body-mb", EnvVars: config.Env("max-body-mb"), Value: 1024, Usage: "a submission is at most `N` MiB"},
			&cli.StringFlag{Name: "log-level", EnvVars: config.Env("log-level"), Value: "info", Usage: "debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", EnvVars: config.Env("log-format"), Value: "text", Usage: "text or json"},
		},
		Action: e.serve,
	}
}

func tokenFileFlag() cli.Flag {
	return &cli.StringFlag{Name: "token-file", EnvVars: config.Env("token-file"), Usage: "`FILE` that holds the token of the API", DefaultText: tokenVariable}
}

// token is the API's token; "" if there is none.
func (e *env) token(c *cli.Context) (string, error) {
	file := c.String("token-file")
	if file == "" {
		return strings.TrimSpace(e.getenv(tokenVariable)), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", &coordinator.UsageError{Err: fmt.Errorf("--token-file: %w", err)}
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", &coordinator.UsageError{Err: fmt.Errorf("--token-file: %s is empty", file)}
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
		return &coordinator.UsageError{Err: fmt.Errorf("the API token has %d characters and needs %d at least; `coordinator token` makes one", len(token), minToken)}
	}
	if c.Int64("max-body-mb") < 1 {
		return &coordinator.UsageError{Err: fmt.Errorf("--max-body-mb is %d; it must be at least 1", c.Int64("max-body-mb"))}
	}
	log, level, err := config.AdjustableLogger(e.console.Stderr(), c.String("log-level"), c.String("log-format"))
	if err != nil {
		return &coordinator.UsageError{Err: err}
	}
	defer config.LevelBySignal(log, level)()
	listener, err := server.Listen(c.Context, c.String("listen"), token != "" || c.Bool("without-token"))
	if err != nil {
		return &coordinator.UsageError{Err: err}
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
		e.console.Say("warning: without a token, whoever reaches this address may do everything; requests must be for 127.0.0.1 or localhost")
	}
	return s.Serve(c.Context, listener)
}
