package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Values of the flag -programs.
const (
	eachProgram  = "each"  // a process for each job
	serveProgram = "serve" // one process for all jobs of a worker
)

// agents is the number of live jobs per worker that are programs in one process.
const agents = 250

// processes is the number of live jobs per worker that have a process each.
const processes = 48

// killProgram is a fault of programs only.
const killProgram kind = "kill -9 program"

// programKinds is the number of times that [killProgram] is in the list of faults.
const programKinds = 4

// maxAgents returns the worker's option for programs.
func (s settings) maxAgents() []string {
	switch s.programs {
	case eachProgram:
		return []string{"--max-agents", strconv.Itoa(processes)}
	case serveProgram:
		return []string{"--max-agents", strconv.Itoa(agents)}
	}
	return nil
}

// declare returns the part of tools.yaml that declares the program, which is this command itself.
func (c *cluster) declare() (string, error) {
	if c.programs == "" {
		return "", nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this command: %w", err)
	}
	return fmt.Sprintf("programs:\n  chaos: {argv: [%q, %s], env: {MARK: %q}, serve: %v}\n", self, agentCommand, c.dir, c.programs == serveProgram), nil
}

// agent returns the part of a spec that names the program.
func (s settings) agent(turns int) string {
	if s.programs == "" {
		return ""
	}
	return fmt.Sprintf("agent: {program: chaos, args: {turns: %d}}\n", turns)
}

// kinds returns the faults of a run.
func (s settings) kinds() []kind {
	out := slices.Clone(kinds)
	for range programKinds {
		if s.programs != "" {
			out = append(out, killProgram)
		}
	}
	return out
}

// marked returns the IDs of the processes of all programs, with their keepers.
func (c *cluster) marked() (pids []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is valid
	for _, path := range environs {
		text, _ := os.ReadFile(path) // it may have ended
		if strings.Contains("\x00"+string(text), "\x00MARK="+c.dir+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// killOne kills a process of a program. It returns false if there is none.
func (c *cluster) killOne(n int) bool {
	pids := c.marked()
	return len(pids) > 0 && syscall.Kill(pids[n%len(pids)], syscall.SIGKILL) == nil
}

// temp is the workers' folder for temporary files.
func (c *cluster) temp() string { return filepath.Join(c.dir, "temp") }

// leftovers ends the workers. It returns the number of processes of programs, and the files in the workers' folder for temporary files. The folder of
// a killed worker does not count if its lock is free: the next worker that runs a program removes it.
func (c *cluster) leftovers() (processes int, files []string, err error) {
	for _, n := range c.nodes {
		n.mu.Lock()
		n.process.Stop()
		n.mu.Unlock()
	}
	left, err := os.ReadDir(c.temp())
	if err != nil {
		return 0, nil, fmt.Errorf("look for what programs left: %w", err)
	}
	stale := 0
	for _, e := range left {
		if stale < workers && free(filepath.Join(c.temp(), e.Name(), "lock")) {
			stale++
		} else {
			files = append(files, e.Name())
		}
	}
	return len(c.marked()), files, nil
}

// free reports whether no process holds a lock file.
func free(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
