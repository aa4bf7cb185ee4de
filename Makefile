# Every target is a command that a person could type. `make help` lists them.

GO        ?= go
VERSION   ?= $(shell scripts/version)
# The commit's own time: two builds of one commit are the same.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
LDFLAGS    = -s -w -X github.com/gild-dev/gild/internal/version.linked=$(VERSION) -X github.com/gild-dev/gild/internal/version.epoch=$(SOURCE_DATE_EPOCH)
GOBUILD    = $(GO) build
# HTTP/2 would cost the agent half a megabyte, and no server of gild's speaks it to agents.
AGENTTAGS  = nethttpomithttp2
AGENTBUILD = $(GOBUILD) -tags $(AGENTTAGS) -ldflags '$(LDFLAGS)'
# One set of flags for building and testing, so that nothing is compiled twice.
export GOFLAGS := $(strip -trimpath -buildvcs=false $(GOFLAGS))
export CGO_ENABLED = 0
UNITS      = ./cmd/... ./internal/... ./scripts/... ./bench
AGENTBIN   = internal/initramfs/agentbin
LINT       = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT  = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
FUZZTIME  ?= 20s
PREFIX    ?= /usr/local
PROGRAM   ?= bin/gild
# Many units wait for a clock, a server or a disk most of their time: four packages keep two processors busy.
UNITSATONCE = 4
# Consoles, server logs and events of the whole boots.
ARTIFACTS  = $(CURDIR)/bin/artifacts
SKIP       = -skip '^TestLong'

.DEFAULT_GOAL := build
.PHONY: help build program agent install package demo man docs test test-all race check house bench bench-quick bench-boot bench-micro lint fuzz mutate reliability clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: agent program ## build bin/gild with the agent inside

program:
	@echo "$(PROGRAM)"
	@$(if $(ARCH),GOARCH=$(ARCH)) $(GOBUILD) -ldflags '$(LDFLAGS)' -o $(PROGRAM) ./cmd/gild

agent: ## build the agent for every architecture
	@for arch in amd64 arm64; do \
		echo "the agent for $$arch, into $(AGENTBIN)"; \
		GOOS=linux GOARCH=$$arch $(AGENTBUILD) -o $(AGENTBIN)/gild-init-$$arch ./cmd/gild-init || exit 1; \
	done

install: ## install program, service and man pages below PREFIX (/usr/local), as a person with the rights to
	@test -x bin/gild || { echo "first: make build"; exit 1; }
	@scripts/stage '$(DESTDIR)' '$(PREFIX)'
	@echo "installed below $(DESTDIR)$(PREFIX); as a service: docs/operations.md"

package: build ## deb, rpm, archives, OCI image and bill of materials in bin/release, the same bytes for the same commit
	@scripts/package

man: ## write the man pages to bin/man
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(GO) run ./cmd/gild man bin/man

docs: ## the documents as pages with a search, to read offline: bin/site/index.html
	@rm -rf bin/site
	@$(GO) run ./scripts/site -o bin/site
	@echo "bin/site/index.html"

demo: ## flash one empty virtual machine over the network, three together, and one that does not wait for its disk
	@scripts/deps demo
	@$(MAKE) --no-print-directory build
	@scripts/as-root $(GO) run ./test/demo -gild bin/gild $(if $(IMAGE),-image '$(IMAGE)')

test: ## every promise is tested, by whole boots in virtual machines where it takes those (asks for root)
	@scripts/deps test
	@$(MAKE) --no-print-directory build house
	@scripts/as-root $(GO) test -vet=off -p $(UNITSATONCE) -timeout 20m $(SKIP) $(UNITS)
	@$(MAKE) --no-print-directory race
	@rm -rf $(ARTIFACTS) && mkdir -p $(ARTIFACTS)
	@scripts/as-root $(GO) test -vet=off -p 2 -parallel 2 -timeout 70m -v -artifacts -outputdir $(ARTIFACTS) $(SKIP) ./test/...

test-all: ## the same with the rows that take long and prove little more: once before a larger change is done
	@scripts/deps slow
	@$(MAKE) --no-print-directory test SKIP=

race: agent ## the race detector on what runs side by side in a machine; needs a C compiler
	@CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 15m ./internal/agent ./internal/agent/boot ./internal/agent/instant \
		./internal/agent/netif ./internal/agent/order ./internal/agent/proc ./internal/agent/report ./internal/agent/screen \
		./internal/disk/nbd ./internal/api/... ./internal/oci
	@CGO_ENABLED=1 $(GO) test -race -vet=off -short -timeout 15m -run Live ./internal/flash -simulations 2000 -livelies 4

check: agent ## the quick loop: build, vet, unit tests, sizes, lint; the same for root and for others
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) test -short $(UNITS)
	@$(MAKE) --no-print-directory house lint

house: ## sizes of types, packages and files, directions of imports
	$(GO) run ./scripts/house

lint: ## golangci-lint with the linters of .golangci.yml
	$(GO) run $(LINT) run ./...

bench: ## gild against its peers: same image, same link, same disk; bench/results.json (asks for root; an hour and a half)
	@scripts/deps bench
	@$(MAKE) --no-print-directory build
	@scripts/as-root $(GO) run ./bench -gild bin/gild -doc docs/performance.md $(BENCH)

bench-quick: ## the same as a smoke run: one round on loopback
	@scripts/deps bench
	@$(MAKE) --no-print-directory build
	@scripts/as-root $(GO) run ./bench -gild bin/gild -quick $(BENCH)

bench-boot: ## a machine from power-on to the golden login, ours and by download, dd and switch_root
	@scripts/deps bench
	@$(MAKE) --no-print-directory build
	@scripts/as-root $(GO) run ./bench -gild bin/gild -work boot -rounds 3 -doc docs/performance.md $(BENCH)

bench-micro: ## microbenchmarks, ten runs, summed up by benchstat
	@mkdir -p bin
	$(GO) test -run '^$$' -bench . -count 10 ./internal/... > bin/bench.txt
	$(GO) run $(BENCHSTAT) bin/bench.txt

fuzz: ## every fuzz target for FUZZTIME (20s)
	@$(GO) run ./scripts/fuzz -time $(FUZZTIME)

mutate: ## take each safeguard out of the flash engine and see a test fail
	$(GO) run ./scripts/mutate

reliability: ## inject every kind of fault at its full count (half an hour) and write docs/reliability.md
	$(GO) run ./scripts/reliability

clean: ## remove what make built
	rm -rf bin
	rm -f $(AGENTBIN)/gild-init-*
