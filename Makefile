# Prism's build. `make check` is all that a change has to pass; `make help` lists the rest.
# Needs GNU make 4, Go, git, a C compiler for the race detector, and redis-server for what
# uses Redis. Whatever else a target uses is pinned in a module under tools/ and built, and
# cached, by Go.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# Where it cannot work (no C compiler), tests run without the race detector, and say so.
RACE ?= $(if $(shell command -v "$$($(GO) env CC)"),-race,$(warning no C compiler: tests run without the race detector))
TESTFLAGS ?=
BACKEND ?= memory
RUNS ?= 50
STORES ?=
MINUTES ?= 12
# Another server than the pinned one, for the suite: a path, or a name on PATH.
SERVER ?=
OTHER_SERVER = $(if $(SERVER),PRISM_$(shell echo $(BACKEND) | tr a-z A-Z)_BIN=$(if $(findstring /,$(SERVER)),$(abspath $(SERVER)),$(SERVER)))
RANDOM_CASES := '^TestConformanceInProcess$$/^core$$/^(random|load)$$/^(model|ownership)$$'
PLATFORMS := linux/arm64 darwin/arm64 windows/amd64

# Packages whose tests run real stores. They mostly wait, so two go at a time, beside one of the
# others; more of them on two cores would measure each other.
REAL_STORES = /plugins/(consul|etcd|nats|redis)|/tools/stores|/cmd/e2e
# The modules of the workspace, and those of tools/ that stay outside of it.
WORK_DIRS = $(shell $(GO) list -m -f '{{.Dir}}')
TOOL_DIRS = $(filter-out $(WORK_DIRS),$(patsubst %/go.mod,%,$(wildcard $(CURDIR)/tools/*/go.mod)))
# go tool builds the linter once and again only when tools/lint changes.
GOLANGCI_LINT = "$$(GOWORK=off $(GO) -C tools/lint tool -n golangci-lint)"
# Name and content of everything generated.
GENERATED = git grep -l --untracked -E -e '^(//|<!--) Code generated .* DO NOT EDIT' -- '*.go' '*.md' | while read -r f; do echo "$$f $$(git hash-object "$$f")"; done

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1:/p' $(firstword $(MAKEFILE_LIST)) | while IFS=: read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

##### Build and use

.PHONY: build
build: ## Write bin/prism and bin/plugins/prism-backend-NAME.
	@mkdir -p bin/plugins
	$(GO) build -o bin/ ./cmd/prism
	$(GO) build -o bin/plugins/ $(wildcard ./plugins/*/cmd/prism-backend-*)

.PHONY: run
run: build ## Build all and serve on http://127.0.0.1:8640.
	exec bin/prism serve

.PHONY: demo
demo: build ## Show registration, discovery, failure and recovery in one run.
	@mkdir -p bin/examples
	$(GO) build -o bin/examples/ ./examples/...
	bin/examples/demo -bin bin

.PHONY: servers
servers: ## Run one real server of each store until Ctrl-C (STORES="etcd redis").
	@$(GO) run ./tools/stores/cmd/stores $(STORES)

##### Test

.PHONY: test
test: ## Run the tests of all modules (TESTFLAGS="-run X -v" and the like).
	@$(GO) build $(RACE) $$($(GO) list -f '{{if .GoFiles}}{{.ImportPath}}{{end}}' work)
	@$(GO) test $(RACE) -p 1 -timeout 20m $(TESTFLAGS) $$($(GO) list work | grep -vE '$(REAL_STORES)') & others=$$!; status=0; \
	$(GO) test $(RACE) -p 2 -timeout 30m $(TESTFLAGS) $$($(GO) list work | grep -E '$(REAL_STORES)') || status=1; \
	wait $$others || status=1; \
	exit $$status

.PHONY: conformance
conformance: ## Run the conformance suite, both profiles, on one backend in three ways (BACKEND=redis; SERVER=valkey-server for another server).
	$(OTHER_SERVER) $(GO) test $(RACE) -timeout 40m -count=1 -v -run '^Test(Claims|Conformance)' $(TESTFLAGS) ./plugins/$(BACKEND)

.PHONY: conformance-random
conformance-random: ## Run the suite's random cases RUNS times, each with a seed of its own (BACKEND=etcd RUNS=50).
	$(OTHER_SERVER) $(GO) test $(RACE) -timeout 10h -count=$(RUNS) -v -run $(RANDOM_CASES) $(TESTFLAGS) ./plugins/$(BACKEND)

.PHONY: conformance-random-report
conformance-random-report: ## The same, with its count in docs/conformance.md; what failed is in bin/.
	@mkdir -p bin
	$(OTHER_SERVER) $(GO) test $(RACE) -timeout 10h -count=$(RUNS) -json -run $(RANDOM_CASES) $(TESTFLAGS) ./plugins/$(BACKEND) >bin/conformance-random-$(BACKEND).json || echo "not all of it passed, see bin/conformance-random-$(BACKEND).json"
	$(GO) run ./conformance/cmd/conformance-table -random -backend $(BACKEND) <bin/conformance-random-$(BACKEND).json

.PHONY: conformance-report
conformance-report: ## Take the results of one backend's launched binary into docs/conformance.md (SERVER, too).
	@mkdir -p bin
	$(OTHER_SERVER) $(GO) test -timeout 40m -count=1 -json -run '^TestConformanceLaunched$$' ./plugins/$(BACKEND) >bin/conformance-$(BACKEND).json || echo "not all of it passed"
	$(GO) run ./conformance/cmd/conformance-table $(if $(SERVER),-other-server) -backend $(BACKEND) <bin/conformance-$(BACKEND).json

.PHONY: endure
endure: build ## Compare for MINUTES (12) what a real Consul shows in DNS, API and UI with what a host registered.
	$(GO) run ./cmd/e2e/cmd/endure -bin bin -minutes $(MINUTES)

.PHONY: bench
bench: ## Measure Prism beside its peers.
	$(GO) test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./bench/...

##### Check

.PHONY: check
check: test check-static ## Everything that a change has to pass.

.PHONY: check-static
check-static: check-format lint check-tidy check-generated check-modules cross ## All of check but the tests.
	@echo "check-static: passed"

.PHONY: lint
lint: ## Report what .golangci.yml asks for.
	@echo "lint"
	@$(GOLANGCI_LINT) run $(addsuffix /...,$(WORK_DIRS))

.PHONY: check-format
check-format: ## Fail where gofmt would change something.
	@echo "check-format"
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted, run make format:"; echo "$$unformatted"; exit 1; }

.PHONY: format
format: ## Format all Go code, sort imports.
	@$(GOLANGCI_LINT) fmt $(WORK_DIRS)

.PHONY: tidy
tidy: ## Give all modules the same versions and tidy their go.mod.
	@$(GO) work sync
	@for dir in $(WORK_DIRS) $(TOOL_DIRS); do GOWORK=off $(GO) -C "$$dir" mod tidy; done

.PHONY: check-tidy
check-tidy: ## Fail where make tidy would change something.
	@echo "check-tidy"
	@bad=; for dir in $(WORK_DIRS) $(TOOL_DIRS); do GOWORK=off $(GO) -C "$$dir" mod tidy -diff || bad="$$bad $$dir"; done; \
	[ -z "$$bad" ] || { echo "not tidy, run make tidy:$$bad"; exit 1; }

.PHONY: generate
generate: ## Write anew what is generated: the code of the .proto files, docs/conformance.md.
	tools/gen/generate.sh
	$(GO) run ./conformance/cmd/conformance-table

.PHONY: check-generated
check-generated: ## Fail where make generate changes something.
	@echo "check-generated"
	@before=$$($(GENERATED)); $(MAKE) generate >/dev/null; after=$$($(GENERATED)); \
	[ "$$before" = "$$after" ] || { echo "generated code was out of date and is now written anew; look at git diff"; exit 1; }

.PHONY: check-modules
check-modules: ## Build each module by itself, without the workspace.
	@echo "check-modules"
	@bad=; for dir in $(WORK_DIRS); do GOWORK=off $(GO) -C "$$dir" build -o /dev/null ./... || bad="$$bad $$dir"; done; \
	[ -z "$$bad" ] || { echo "does not build by itself:$$bad"; exit 1; }

.PHONY: cross
cross: ## Compile everything, tests too, for other platforms.
	@for platform in $(PLATFORMS); do echo "cross $$platform"; \
	GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 $(GO) build work; \
	GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 $(GO) vet work; done

.PHONY: clean
clean: ## Remove bin/.
	rm -rf bin
