// Command composetest starts deploy/docker-compose.yml on a real Docker engine, breaks it, and counts the results.
//
// The file runs as a user has it: four workers with a simulated inference server each, Redis, Prometheus and Grafana. 1,000
// agents of several turns and tool calls are submitted through the coordinator's image. While they run, one worker is killed,
// another one loses its network for longer than a lease and gets it back, and Redis is killed and started. It exits with 0
// if there are 1,000 results then, each index once and each ok, if both faults led to takeovers, and if every query of the
// dashboard has an answer from Prometheus; with 1 otherwise; with 3 if there is no engine.
//
// Images that cannot be pulled are replaced by stand-ins under the same names, made of this machine's programs: redis-server,
// Debian's prometheus and redis exporter, the Go toolchain with its modules, and for Grafana a program that checks what it
// would have been provisioned with. The table says which they were. They are removed at the end unless -keep is given.
//
// It talks to the engine through the programs docker and docker compose (or docker-compose), as users do. Its containers,
// volumes and images have names of their own, so that it leaves a cluster alone that runs on the same engine.
package main
