# The commands for working on Gatehouse. `make help` lists them.
#
# Needed: Go (the version in go.mod), npm (it fetches the ClickHouse library), and gcc for the race detector in
# `make check`. Everything else is fetched at the versions pinned in go.mod, tools/go.mod and engine/package-lock.json.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

DATA    ?= ./data
# Where make run and make demo listen, HOST:PORT; empty: as the settings say, else 127.0.0.1:8000.
LISTEN  ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)

# The binary needs no C compiler and no shared library but the one that the engine loads at run time. Tests and checks
# take the same settings: what is tried is what is shipped, and everything is compiled once.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(shell go env GOFLAGS 2>/dev/null)) -trimpath)
GOBUILD := go build -ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)'
GOTOOL  := go tool -modfile=tools/go.mod

# Packages with goroutines of their own. The race detector makes tests five to ten times slower, so not all run under it.
RACE ?= ./authsvc/... ./config/... ./event/... ./ingest/... ./internal/... ./schema/... ./spool/...

# How many companies `make soak` tries each report's oracle on.
ORACLE_CASES ?= 400

# The packages whose tests take longest, so that they begin first and none of them is left to run alone at the end.
SLOW := ./soak ./ingest ./engine ./query ./bench ./cmd/gatehouse

LIBRARY_STAMP := engine/node_modules/.package-lock.json

.PHONY: help
help: ## list these commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(LIBRARY_STAMP) ## install the ClickHouse library (npm, exact version, checked by hash)

# npm removes node_modules first, so that the stamp is there only after a whole install.
$(LIBRARY_STAMP): engine/package.json engine/package-lock.json
	@command -v npm >/dev/null || { echo 'make: npm is needed to fetch the ClickHouse library: install Node.js with npm (Debian: apt-get install npm)' >&2; exit 1; }
	npm ci --prefix engine --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: build
build: ## build bin/gatehouse
	@command -v go >/dev/null || { echo 'make: Go is needed, see the version in go.mod: https://go.dev/dl' >&2; exit 1; }
	$(GOBUILD) -o bin/gatehouse ./cmd/gatehouse

.PHONY: run
run: setup build ## start Gatehouse at https://localhost:8000 with its data in ./data
	exec bin/gatehouse --data $(DATA) serve $(if $(LISTEN),--listen $(LISTEN))

.PHONY: demo
demo: setup build ## start Gatehouse with one simulated month in it
	exec tools/demo.sh $(DATA) $(LISTEN)

# Tests that need PostgreSQL use the one at $$GATEHOUSE_TEST_POSTGRES or 127.0.0.1:5432, those that need MySQL or MariaDB that at
# $$GATEHOUSE_TEST_MYSQL or 127.0.0.1:3306. They are skipped without one unless CI=true, and so is the one that needs a browser.
.PHONY: test
test: setup build ## run all tests
	tools/browser.sh
	GATEHOUSE_BIN=$(CURDIR)/bin/gatehouse go test -count=1 -timeout 11m $(SLOW) ./... # the cache does not see that the binary has changed

.PHONY: check
check: setup ## what must hold before a commit: format, vet, linters, race detector
	go mod verify
	@out=$$($(GOTOOL) gofumpt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		[[ -z $$out ]] || { echo 'not formatted (make fmt mends it):' >&2; echo "$$out" >&2; exit 1; }
	go vet ./...
	$(GOTOOL) golangci-lint run ./...
	CGO_ENABLED=1 go test -race -short -timeout 10m $(RACE)

.PHONY: fmt
fmt: ## format the Go files
	$(GOTOOL) gofumpt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: bench
bench: setup build ## measure throughput and latency, a few minutes
	bin/gatehouse bench

.PHONY: bench-large
bench-large: setup build ## the same at 100 million events
	bin/gatehouse bench --large

# The long form of the tests that kill processes and of the oracles, then every fuzz target in turn.
.PHONY: soak
soak: setup build ## kill, resend and fuzz for hours
	GATEHOUSE_BIN=$(CURDIR)/bin/gatehouse GATEHOUSE_SOAK=1 GATEHOUSE_ORACLE_CASES=$(ORACLE_CASES) go test -count=1 -timeout 12h -run 'Soak|Oracle|EqualReference' -v ./...
	tools/fuzz.sh

.PHONY: clean
clean: ## remove what make has built and fetched; the data directory stays
	rm -rf bin engine/node_modules
