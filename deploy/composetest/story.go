package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	lease = 15 * time.Second // the workers' default
	// takeover is the longest time between a fault and the takeover: a lease, the interval of claims, and a slow machine.
	takeover = lease + 10*time.Second
	settling = 3 * time.Minute // until all services are healthy
	asking   = 2 * time.Second
)

// story is one run. Its fields are filled during the run.
type story struct {
	*cluster
	began  time.Time // start of the batch
	events []event
	id     string
	last   batch.Info // the last answer of status

	results   []batch.Result
	judged    bool // the results are correct
	wall      time.Duration
	dashboard observed
	seen      bool // dashboard is complete
}

// event is one line of the table.
type event struct {
	at   time.Duration
	what string
	info batch.Info
}

func (s *story) note(what string) {
	s.events = append(s.events, event{time.Since(s.began), what, s.last})
	fmt.Fprintf(os.Stderr, "composetest: %6.1fs  %s\n", time.Since(s.began).Seconds(), what)
}

// play starts the cluster, submits the batch, injects the faults, and checks the results.
func (s *story) play(ctx context.Context) error {
	s.began = time.Now()
	if err := s.run(ctx, "start the cluster", s.composed("up", "-d")...); err != nil {
		return err
	}
	if err := s.healthy(ctx); err != nil {
		return err
	}
	s.note("every service is healthy")
	if err := s.submit(ctx); err != nil {
		return err
	}
	submitted := time.Now()
	s.began = submitted
	s.events = nil
	s.note("submitted " + s.id)
	if err := s.breakThings(ctx); err != nil {
		return err
	}
	err := s.until(ctx, func(i batch.Info) bool { return i.Phase.Terminal() })
	if err != nil {
		return err
	}
	s.wall = time.Since(submitted)
	s.note("the batch is done")
	if err := s.judge(ctx); err != nil {
		return err
	}
	s.judged = true
	if err := s.served(ctx); err != nil {
		return err
	}
	if s.dashboard, err = s.observe(ctx); err != nil {
		return err
	}
	s.seen = true
	if err := s.run(ctx, "start stopped services", s.composed("up", "-d")...); err != nil {
		return err
	}
	if err := s.healthy(ctx); err != nil {
		return err
	}
	s.note("up -d: every service is healthy again")
	return nil
}

// breakThings injects each fault at its point in the batch. Each fault must have an effect before the next one strikes.
func (s *story) breakThings(ctx context.Context) error {
	if err := s.until(ctx, s.ended(10)); err != nil {
		return err
	}
	killed, err := s.container(ctx, "worker-2")
	if err != nil {
		return err
	}
	if err := s.run(ctx, "kill", "docker", "kill", killed); err != nil {
		return err
	}
	s.note("docker kill worker-2")
	if err := s.takenOver(ctx, "worker-2 was killed"); err != nil {
		return err
	}

	cut, err := s.container(ctx, "worker-3")
	if err != nil {
		return err
	}
	if err := s.run(ctx, "disconnect", "docker", "network", "disconnect", "-f", network, cut); err != nil {
		return err
	}
	s.note("docker network disconnect worker-3")
	lost := time.Now()
	// Wait until the first worker's jobs are taken over, so that they are not counted for the second worker. Its leases last for
	// at least ten more seconds.
	if err := sleep.For(ctx, lease/2); err != nil {
		return err
	}
	if s.last, err = s.status(ctx); err != nil {
		return err
	}
	if err := s.takenOver(ctx, "worker-3 lost its network"); err != nil {
		return err
	}
	// Stay disconnected for longer than a lease.
	if err := sleep.For(ctx, time.Until(lost.Add(takeover))); err != nil {
		return err
	}
	if s.last, err = s.status(ctx); err != nil {
		return err
	}
	if err := s.run(ctx, "connect", "docker", "network", "connect", "--alias", "worker-3", network, cut); err != nil {
		return err
	}
	s.note(fmt.Sprintf("docker network connect worker-3, after %.0f s", time.Since(lost).Seconds()))

	if err := s.until(ctx, s.ended(50)); err != nil {
		return err
	}
	redis, err := s.container(ctx, "redis")
	if err != nil {
		return err
	}
	if err := s.run(ctx, "kill", "docker", "kill", redis); err != nil {
		return err
	}
	s.note("docker kill redis")
	if err := sleep.For(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := s.run(ctx, "start", "docker", "start", redis); err != nil {
		return err
	}
	s.note("docker start redis")
	return nil
}

func (s *story) ended(percent int) func(batch.Info) bool {
	return func(i batch.Info) bool { return i.Counts.Finished()*100 >= int64(s.jobs*percent) }
}

// takenOver waits until the count of takeovers exceeds that of the last status.
func (s *story) takenOver(ctx context.Context, why string) error {
	before := s.last.Counts.Takeovers
	ctx, cancel := context.WithTimeoutCause(ctx, 2*takeover, fmt.Errorf("no job was taken over within %s after %s", 2*takeover, why))
	defer cancel()
	if err := s.until(ctx, func(i batch.Info) bool { return i.Counts.Takeovers > before || i.Phase.Terminal() }); err != nil {
		return err
	}
	if s.last.Counts.Takeovers == before {
		return fmt.Errorf("the batch ended before a job was taken over after %s; submit more -jobs", why)
	}
	s.note("jobs are taken over")
	return nil
}

// until polls the batch until wanted returns true. Redis may be unreachable for a while.
func (s *story) until(ctx context.Context, wanted func(batch.Info) bool) error {
	var trouble error
	for {
		info, err := s.status(ctx)
		if err == nil {
			s.last = info
			if wanted(info) {
				return nil
			}
			if info.Phase.Terminal() {
				return errors.New("the batch ended too early for the next fault; submit more -jobs")
			}
		}
		trouble = err
		if err := sleep.For(ctx, asking); err != nil {
			return errors.Join(err, trouble)
		}
	}
}

// status runs the status command in one more container on the cluster's network. This is faster than Compose's run, which
// inspects every service.
func (s *story) status(ctx context.Context) (batch.Info, error) {
	var shown struct {
		batch.Info
		TTL string `json:"ttl"` // text in this form of the record
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := s.output(ctx, "ask for the batch", "docker", "run", "--rm", "--network", network,
		"-v", project+"_coordinator-secrets:/run/batchagent:ro", "-e", "BATCHAGENT_REDIS_PASSWORD_FILE=/run/batchagent/redis-password",
		"batchagent/coordinator:"+version, "status", s.id, "--json", "--redis", "redis://coordinator@redis:6379")
	if err != nil {
		return batch.Info{}, err
	}
	err = json.Unmarshal(out, &shown)
	return shown.Info, err
}

// healthy waits until every container runs and passes its health check, if it has one. Containers that run only once must have
// succeeded; all others are restarted when they end.
func (s *story) healthy(ctx context.Context) error {
	var state []byte
	ctx, cancel := context.WithTimeoutCause(ctx, settling, fmt.Errorf("not every service is healthy after %s", settling))
	defer cancel()
	for {
		ids, err := s.output(ctx, "list containers", "docker", "ps", "-aq", "--filter", "label=com.docker.compose.project="+project)
		if err != nil {
			return err
		}
		argv := append([]string{"docker", "inspect", "--format", "{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}} {{.State.ExitCode}} {{.Name}}"}, strings.Fields(string(ids))...)
		if state, err = s.output(ctx, "inspect", argv...); err != nil {
			return err
		}
		ill := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(state)), "\n"), func(line string) bool {
			return strings.HasPrefix(line, "running healthy ") || strings.HasPrefix(line, "running  ") || strings.HasPrefix(line, "exited  0 ")
		})
		if len(ill) == 0 {
			return nil
		}
		if err := sleep.For(ctx, asking); err != nil {
			return fmt.Errorf("%w: %s", err, strings.Join(ill, ", "))
		}
	}
}

const (
	notes    = 50
	specText = `name: compose-test
task: "Sum up note-{n}.txt. Job {i}."
inputs: inputs.jsonl
tools: [read_file]
output_schema:
  type: object
  properties: {summary: {type: string}}
  required: [summary]
max_turns: 6
`
)

// submit writes a spec with its inputs into the mounted folder and submits it.
func (s *story) submit(ctx context.Context) error {
	var inputs bytes.Buffer
	for i := range s.jobs {
		fmt.Fprintf(&inputs, "{\"n\":%d,\"i\":%d}\n", i%notes, i)
	}
	files := map[string][]byte{"spec.yaml": []byte(specText), "inputs.jsonl": inputs.Bytes()}
	for i := range notes {
		files[fmt.Sprintf("note-%d.txt", i)] = []byte("A note that is read.\n")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.files, name), text, 0o644); err != nil {
			return fmt.Errorf("write an input: %w", err)
		}
	}
	out, err := s.output(ctx, "submit", s.once("submit", "spec.yaml")...)
	if err != nil {
		return err
	}
	s.id = strings.TrimSpace(string(out))
	_, err = batch.ParseID(s.id)
	return err
}

// judge collects the results and checks them.
func (s *story) judge(ctx context.Context) error {
	out, err := s.output(ctx, "collect", s.once("results", s.id, "--follow")...)
	if err != nil {
		return err
	}
	seen := make([]int, s.jobs)
	lost, doubled, failed := 0, 0, 0
	for line := range bytes.Lines(out) {
		var r batch.Result
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("read the result %q: %w", line, err)
		}
		if r.Index < 0 || r.Index >= int64(s.jobs) {
			return fmt.Errorf("a result has the index %d", r.Index)
		}
		seen[r.Index]++
		if r.Status != batch.OK {
			failed++
		}
		s.results = append(s.results, r)
	}
	for _, n := range seen {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	if lost+doubled+failed > 0 {
		return fmt.Errorf("%d jobs: %d have no result, %d have more than one, %d results are not ok", s.jobs, lost, doubled, failed)
	}
	return nil
}

// print writes the table.
func (s *story) print(w io.Writer, standins []string, prepared time.Duration) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "second\twhat\tended\ttakeovers\n")
	for _, e := range s.events {
		fmt.Fprintf(t, "%.0f\t%s\t%d\t%d\n", e.at.Seconds(), e.what, e.info.Counts.Finished(), e.info.Counts.Takeovers)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	share, attempts, turns := map[string]int{}, map[int]int{}, 0
	for _, r := range s.results {
		share[r.Worker]++
		attempts[r.Attempts]++
		turns += r.Turns
	}
	var shares, tries []string
	for _, worker := range slices.Sorted(maps.Keys(share)) {
		shares = append(shares, fmt.Sprintf("%s %d", worker, share[worker]))
	}
	for _, n := range slices.Sorted(maps.Keys(attempts)) {
		tries = append(tries, fmt.Sprintf("%d jobs took %d", attempts[n], n))
	}
	fmt.Fprintf(t, "compose\t%s\n", strings.Join(s.program, " "))
	fmt.Fprintf(t, "images\tready after %s\n", prepared.Round(time.Second))
	for _, image := range standins {
		fmt.Fprintf(t, "stand-in\t%s\n", image)
	}
	if s.judged {
		fmt.Fprintf(t, "results\t%d of %d, each index once, each ok\n", len(s.results), s.jobs)
	}
	fmt.Fprintf(t, "turns\t%d\n", turns)
	fmt.Fprintf(t, "attempts\t%s\n", strings.Join(tries, ", "))
	fmt.Fprintf(t, "by worker\t%s\n", strings.Join(shares, ", "))
	fmt.Fprintf(t, "takeovers\t%d\n", s.last.Counts.Takeovers)
	if s.seen {
		s.dashboard.print(t)
	}
	fmt.Fprintf(t, "wall time\t%.0f s\n", s.wall.Seconds())
	_ = t.Flush()
}
