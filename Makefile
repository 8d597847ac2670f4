# Two commands do all the set-up: `make demo` runs the scenario, `make test` passes the tests.
SHELL := /bin/bash
GO    ?= go

.PHONY: demo test build bench bench-net bench-arm bench-authz conformance soak soak-kills test-clients test-cases lint

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/vauban ./cmd/vauban

demo:
	@sh demo/setup.sh
	@$(MAKE) --no-print-directory build
	@bin/vauban demo $(DEMO)

test:
	@sh demo/setup.sh tests
	@$(MAKE) --no-print-directory build
	@bash tools/test.sh

bench:
	@sh demo/setup.sh
	@$(MAKE) --no-print-directory build
	@bin/vauban bench $(BENCH)

# What network rules cost, beside a router that only tracks connections.
bench-net:
	@$(MAKE) --no-print-directory build
	@bin/vauban bench --only '^net-'

# Resource Manager: writes, reads, a template, lists, and what policy adds.
bench-arm:
	@$(MAKE) --no-print-directory build
	@bin/vauban bench --only '^(arm-|resources|authz-decision)'

# How close the answers are to Azure's, a score for each type. Without CASES it writes docs/conformance.md.
CASES ?= conformance/cases
conformance:
	@$(MAKE) --no-print-directory build
	@bin/vauban conformance --cases $(CASES) $(if $(filter conformance/cases,$(CASES)),--write docs/conformance.md)

# What a request pays for being judged: roles, policies, tokens.
bench-authz:
	@$(MAKE) --no-print-directory build
	@bin/vauban bench --only '^authz-'

# The network's model against the kernel: random topologies, and as many packets through each of both as
# SOAK says. A failure is made small and printed.
SOAK ?= 100000
soak:
	VAUBAN_SOAK=$(SOAK) $(GO) test -count 1 -timeout 4h -run 'ModelIsKernel' ./fabric ./fabric/linux

# The data planes' tests with the unmodified clients of the demo's environments, and az signed in by a real browser (Debian's
# chromium and libnss3-tools).
test-clients:
	@sh demo/setup.sh clients
	@$(MAKE) --no-print-directory build
	VAUBAN_PYTHONS=$(CURDIR)/.cache/sdk/bin/python VAUBAN_PYTHON=$(CURDIR)/.cache/sdk/bin/python VAUBAN_VAULT_PYTHON=$(CURDIR)/.cache/management/bin/python VAUBAN_STORAGE_PYTHON=$(CURDIR)/.cache/storage/bin/python $(GO) test -tags clients ./dataplane/...
	VAUBAN_BIN=$(CURDIR)/bin/vauban $(GO) test -timeout 30m -tags clients ./e2e -run 'TestAz|Clients'

# Kills the server KILLS times under concurrent writers. SOAK_DIR keeps the region and the progress: the next run goes on there.
KILLS ?= 1000
soak-kills: build
	VAUBAN_BIN=$(CURDIR)/bin/vauban $(GO) test -tags soak -count 1 -timeout 8h ./e2e -run 'TestSoakKills$$' -v -args -kills $(KILLS) $(if $(SOAK_DIR),-soak-dir $(SOAK_DIR)) $(if $(SEED),-seed $(SEED))

# Deploys all templates under CASES, says what came of each, and writes the table to WRITE (docs/templates.md).
test-cases: build
	VAUBAN_BIN=$(CURDIR)/bin/vauban VAUBAN_CASES="$(abspath $(CASES))" VAUBAN_WRITE="$(abspath $(WRITE))" $(GO) test -tags cases -count=1 -timeout 20m ./e2e -run 'TestCases$$' -v

lint:
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
