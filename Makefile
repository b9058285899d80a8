# `make help` lists the targets. `make check` is the one gate; CI runs the same and the slow layers.
SHELL := bash
.DEFAULT_GOAL := help
GO ?= go
SEED ?=
COUNT ?= 1
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
# The vulnerability database of Go, which is a module too: a newer version is a newer database.
VULNDB ?= v0.0.0-20261105234957-e22db6528018
GOVULNDB ?=
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## build the programs into bin/
	$(GO) build -tags sql -o bin/ ./cmd/...

.PHONY: wheels
wheels: ## Python wheels with the programs in dist/: SYSTEMS="linux-amd64 …"; needs the packages build and hatchling
	python3 python/wheels.py $(SYSTEMS)

.PHONY: check
check: fmt vet staticcheck race ## format, vet, staticcheck and all tests with the race detector

.PHONY: fmt
fmt: ## fail if a file is not gofmt'ed, or has the marks of a merge that was not finished
	@! git grep -nE '^(<<<<<<<|>>>>>>>) '
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$out" || { echo "not formatted:"; echo "$$out"; exit 1; }

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	$(GO) vet -tags realservers ./pkg/backend/dial
	cd bench/queue && $(GO) vet ./...
	cd bench/chaos && $(GO) vet ./...
	cd bench/kvplot && $(GO) vet ./...
	cd deploy/composetest && $(GO) vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck, pinned
	$(GO) run $(STATICCHECK) ./...

.PHONY: vulncheck
vulncheck: ## govulncheck, pinned, for the Go of the images, with the database of the module golang.org/x/vulndb: VULNDB=version, or GOVULNDB=https://… or file:///…
	@db="$(GOVULNDB)"; if test -z "$$db"; then db=bin/vulndb-$(VULNDB); test -d $$db || { \
	    dir=$$($(GO) mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p'); test -n "$$dir" && \
	    $(GO) run golang.org/x/vulndb/cmd/indexdb@$(VULNDB) -vulns $$dir/data/osv -out $$db.part && mv $$db.part $$db || exit 1; }; db=file://$(CURDIR)/$$db; fi; \
	  export GOTOOLCHAIN=go$$(sed -n 's/^FROM golang:\([0-9.]*\).*/\1/p' deploy/Dockerfile); \
	  out=$$($(GO) run $(GOVULNCHECK) -db $$db -tags sql ./... 2>&1); code=$$?; echo "$$out"; \
	  if grep -q '^govulncheck: fetching vulnerabilities' <<<"$$out"; then \
	    echo "make vulncheck: NOTHING WAS CHECKED: the vulnerability database $$db cannot be reached; GOVULNDB names a mirror"; fi; \
	  exit $$code

.PHONY: licenses
licenses: ## write THIRD_PARTY_LICENSES and NOTICE for the modules that the programs contain
	tools/third-party.sh

.PHONY: sbom
sbom: build ## write a CycloneDX SBOM for each program: bin/NAME.cdx.json
	for program in worker coordinator vllmsim; do $(GO) run $(CYCLONEDX) bin -json -output bin/$$program.cdx.json bin/$$program || exit 1; done

.PHONY: pin-images
pin-images: ## write the digests of all images into deploy/; needs docker buildx and the registries
	deploy/pin-images.sh

.PHONY: lint
lint: ## golangci-lint, if it is installed
	golangci-lint run

.PHONY: test
test: ## all tests; needs Go alone
	$(GO) test ./...

.PHONY: race
race: ## all tests with the race detector
	$(GO) test -race ./...

.PHONY: fuzz
fuzz: ## fuzz every parser of untrusted input, one after the other: FUZZTIME=10m each, FUZZ=regexp for some
	@failed=; log=$$(mktemp); while read -r dir name; do echo "=== $$dir $$name"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(or $(FUZZTIME),10m) -fuzzminimizetime 10x "./$$dir" 2>&1 | tee $$log; \
	  test "$${PIPESTATUS[0]}" = 0 || tail -5 $$log | grep -A1 -e '--- FAIL' | grep -qx ' *context deadline exceeded' || failed="$$failed $$dir:$$name"; \
	done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed -E 's|/[^/]+:func | |' | grep -E '$(or $(FUZZ),.)'); rm -f $$log; \
	test -z "$$failed" || { echo "found something:$$failed"; exit 1; } # go.dev/issue/75804: Go 1.26 may fail like that when the time is over

.PHONY: sim
sim: ## simulate: SEED=n for one seed, COUNT=n for how many
	BATCHAGENT_SIM_SEED=$(SEED) BATCHAGENT_SIM_COUNT=$(COUNT) $(GO) test ./internal/sim -run 'TestSeeds' -count=1 -timeout 30m -v

.PHONY: mutants
mutants: ## break the store and the calls of programs on purpose, and see that the simulation notices
	BATCHAGENT_SIM_MUTANTS=1 $(GO) test ./internal/sim -run 'TestMutants|TestGoMutants' -count=1 -timeout 40m -v

.PHONY: torture
torture: ## real processes: redis-server, workers and simulators, kill -9 and SIGSTOP
	$(GO) test ./internal/e2e -count=1 -v

.PHONY: chaos
chaos: ## real processes broken at random: JOBS=10000 DURATION=3m SEED=n
	cd bench/chaos && $(GO) run . -jobs $(or $(JOBS),10000) -duration $(or $(DURATION),3m) -seed $(or $(SEED),0)

.PHONY: redis-servers
redis-servers: ## the store on other servers: SERVERS="/path/redis-server /path/valkey-server"; FAILOVER=1 for whole batches through failovers, too
	@for s in $(SERVERS); do $$s --version; \
	  BATCHAGENT_REDIS_SERVER=$$s $(GO) test -count=1 ./pkg/statestore ./pkg/toolpool/shared || exit 1; \
	  test -z "$(FAILOVER)" || BATCHAGENT_REDIS_SERVER=$$s $(GO) test -count=1 ./internal/e2e -run 'FailoverForgets|RedisIsFull' || exit 1; done

.PHONY: compose-test
compose-test: ## the compose file on a Docker engine: 1,000 agents while workers and Redis die; ARGS=-keep to be faster next time
	cd deploy/composetest && $(GO) run . $(ARGS)

.PHONY: real-vllm
real-vllm: ## run the tickets example on a real vLLM; URL=vllm://host:port
	deploy/real-vllm.sh $(URL)

.PHONY: real-servers
real-servers: ## the conformance suite on real servers; VLLM=, SGLANG=, DYNAMO= URLs, TOOLS=1 if their models call tools by themselves, REASONING=1 if they reason
	BATCHAGENT_REAL_VLLM=$(VLLM) BATCHAGENT_REAL_SGLANG=$(SGLANG) BATCHAGENT_REAL_DYNAMO=$(DYNAMO) BATCHAGENT_REAL_TOOLS=$(TOOLS) BATCHAGENT_REAL_REASONING=$(REASONING) \
	  $(GO) test -tags realservers ./pkg/backend/dial -run TestRealServers -count=1 -v

.PHONY: bench
bench: ## all macro benchmarks, with redis-server; bench/README.md says how to read them
	bench/run.sh

.PHONY: bench-smoke
bench-smoke: ## every benchmark once, small: does it still run?
	bench/run.sh smoke
