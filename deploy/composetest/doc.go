// Command composetest starts deploy/docker-compose.yml on a real Docker engine, injects faults, and counts the results.
//
// It uses the compose file as users have it: Redis, Prometheus, Grafana, and four workers with a simulated inference server each.
// It submits 1,000 agents with several turns and tool calls through the coordinator's image. Then it kills one worker,
// disconnects another one for longer than a lease, and kills and starts Redis. It exits with 0 on success: each index has exactly
// one result, all are ok, both worker faults led to takeovers, and Prometheus answers every query of the dashboard. It exits with
// 3 without an engine, and with 1 otherwise.
//
// Images that cannot be pulled are replaced by stand-ins with the same names, built from this machine's programs: redis-server,
// Debian's prometheus and redis exporter, the Go toolchain with its modules, and for Grafana a program that checks its
// provisioning files. The table lists them. They are removed at the end unless -keep is given.
//
// The command calls the programs docker and docker compose (or docker-compose), as users do. Its containers, volumes and images
// have their own names, so a cluster on the same engine is not affected.
package main
