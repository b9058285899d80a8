// Package forward runs a program in a sandbox or a container, and forwards one TCP address inside to a Unix socket outside.
//
// The forwarder is a copy of this executable in the sandbox. It starts the program, and ends with it. The package imports almost
// nothing, so that a forwarder starts before the rest of the executable is initialized.
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
	if err := serve(socket, address); err != nil {
		return failed("%v", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // the caller's program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.NewFile(0, "stdin"), os.NewFile(1, "stdout"), stderr
	err := cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0
	case exited && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case exited:
		return 128 + 9 // a signal; which one is not needed
	}
	return failed("%s cannot be started in the sandbox: %v", argv[0], err)
}

// failed complains and returns the exit status of a program that cannot start.
func failed(format string, args ...any) int {
	fmt.Fprintf(os.NewFile(2, "stderr"), format+"\n", args...)
	return 127
}

// serve forwards the connections to an address until this process ends.
func serve(socket, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("the address of the job cannot be opened in the sandbox: %w", err)
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
	return nil
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
