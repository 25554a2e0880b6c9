# Everything a developer runs. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
TOOL := go tool -modfile=tools/go.mod

# Settings: make fuzz FUZZ_SECONDS=600
FUZZ_SECONDS ?= 240
BENCH_ROUNDS ?= 7
BENCH ?=
SIM ?=

.PHONY: help build test ci test-kafka fuzz bench bench-kafkatx bench-ingester bench-mapping long clients stack kill-standalone \
	fmt fmt-check vet tidy-check generate-check floors race lint vuln

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binaries into bin/
	@.ci/build

test: ## the tests that need nothing but Go
	go test ./...

ci: ## all checks of a push: format, vet, tidy, generate, build, floors, race, lint, vulnerabilities, fuzz
	@.ci/checks

test-kafka: ## tests on real Apache Kafka from jars (needs Java 17 and Maven)
	@.ci/tagged-tests integration 20m

fuzz: ## fuzz all targets for FUZZ_SECONDS in all (240)
	@.ci/fuzz $(FUZZ_SECONDS)

bench: ## all benchmarks, BENCH_ROUNDS interleaved rounds (7); BENCH=./pkg/… for some
	@.ci/bench $(BENCH_ROUNDS) $(BENCH)

bench-kafkatx: ## benchmarks of pkg/kafkatx on Apache Kafka from jars, a column for each client
	@TAGS=integration BENCHSTAT='-col /client' .ci/bench $(BENCH_ROUNDS) ./pkg/kafkatx

bench-mapping: ## the mapping on one core against encoding/json and encoding/json/v2, BENCH_ROUNDS rounds; then the stage on Apache Kafka from jars
	@FLAGS="-cpu 1 -benchtime 3s" .ci/bench $(BENCH_ROUNDS) ./normalizer/internal/mapping
	go test -tags=integration -count=1 -timeout 20m -run '^$$' -bench StageOnKafka -benchtime 3x ./normalizer/app

bench-ingester: ## feed to raw topics: records/s over a network of 20 ms, and the peak memory of the process
	go test -run '^$$' -bench FeedToRaw -benchtime 5x ./ingester/app
	go test -tags=integration,long -count=1 -timeout 15m -v -run TestMemoryOfProcess ./ingester/app | grep -v '"level"'

long: ## tests of minutes to hours: storms, kill loops
	@.ci/tagged-tests long 6h -v

clients: ## clients that nobody here wrote, against the simulator (curl, Python with pip; what cannot be had is passed over)
	@cmd/m365sim/clients/run.sh

stack: ## what docker-compose.yml starts, as processes on this machine; SIM="-records 100000" for the simulator
	@deploy/stack.sh $(SIM)

kill-standalone: ## kill the standalone at random moments and compare what is left, record by record
	go test -tags=integration,long -count=1 -timeout 2h -v -run TestKillStandalone ./test/e2e

fmt: ## format all Go files
	$(TOOL) gofumpt -w .

fmt-check: ## fail on files that gofumpt would change
	@files=$$($(TOOL) gofumpt -l .); if [ -n "$$files" ]; then echo "not formatted (make fmt):"; echo "$$files"; exit 1; fi

vet: ## go vet, with and without the build tags
	go vet ./...
	go vet -tags=integration ./...
	go vet -tags=integration,long ./...

tidy-check: ## fail if go mod tidy would change something
	go mod tidy -diff

generate-check: ## fail if go generate changes something
	@.ci/generate-check

floors: ## who may import whom
	go test -count=1 ./internal/floors

race: ## all tests with the race detector, shuffled
	go test -race -shuffle=on ./...

lint: ## golangci-lint
	$(TOOL) golangci-lint run

vuln: ## govulncheck, a notice where its database cannot be reached
	@.ci/vuln
