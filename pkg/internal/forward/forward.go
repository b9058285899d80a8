// Package forward runs a program in a sandbox without a network, and forwards one TCP address inside to a Unix socket outside.
//
// The forwarder is a copy of this executable in the sandbox. It starts the program, and ends with it. The package imports only the
// standard library, so that a forwarder starts before the rest of the executable is initialized.
package forward

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
)

// command is the first argument of a forwarder. The socket, the address, and the program with its arguments follow.
const command = "batchagent-forward"

// A forwarder never returns from here.
var _ = forwardIfAsked()

func forwardIfAsked() bool {
	if len(os.Args) < 5 || os.Args[1] != command {
		return false
	}
	os.Exit(run(os.Args[2], os.Args[3], os.Args[4:]))
	return true
}

// Command returns the arguments that run a program behind a forwarder. executable is the path of this executable.
func Command(executable, socket, address string, argv []string) []string {
	return append([]string{executable, command, socket, address}, argv...)
}

// run returns the program's exit status.
func run(socket, address string, argv []string) int {
	stderr := os.NewFile(2, "stderr")
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintf(stderr, "the address of the job cannot be opened in the sandbox: %v\n", err)
		return 127
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go forward(conn, socket)
		}
	}()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // the caller's program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.NewFile(0, "stdin"), os.NewFile(1, "stdout"), stderr
	err = cmd.Run()
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0
	case failed && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case failed:
		return 128 + 9 // a signal; which one is not needed
	}
	fmt.Fprintf(stderr, "%s cannot be started in the sandbox: %v\n", argv[0], err)
	return 127
}

// forward copies between a connection and the socket until both directions have ended.
func forward(conn net.Conn, socket string) {
	defer conn.Close()
	to, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer to.Close()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(to, conn) // the other side sees the end
		_ = to.(*net.UnixConn).CloseWrite()
	})
	_, _ = io.Copy(conn, to)
	_ = conn.(*net.TCPConn).CloseWrite()
	up.Wait()
}
