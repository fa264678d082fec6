# make test    everything, with the race detector, in the environment it needs
# make lint    go vet, golangci-lint with .golangci.yml (gofumpt among it)
# make build   the static binary, in bin/
# make schedules  thousands of random faults of Firestore, in virtual time
# make bench   the speed, beside its limits and rivals: one table, in ten minutes
# make benchmarks  what it leaves out: single parts, restarts, several instances
# make fuzz    every fuzz test for FUZZTIME each
# make crash   real workers, killed, frozen and cut over 5,000 documents; and that
#              it is noticed when a protection is taken out of them

GO       ?= go
TESTENV   = $(GO) run ./cmd/testenv --
TESTFLAGS ?=
FUZZTIME ?= 60s

# The version that .golangci.yml is written for.
GOLANGCI_VERSION = 2.15.0
GOLANGCI = $(shell golangci-lint version --short 2>/dev/null | grep -qx $(GOLANGCI_VERSION) && echo golangci-lint \
	|| echo $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_VERSION))

.PHONY: test lint build schedules bench benchmarks fuzz crash

# The JavaScript engine is a C program in Go, and not ours: with the detector in
# it too, rendering takes fifty times as long.
RACE = -race -gcflags='modernc.org/...=-race=false'

test:
	$(TESTENV) $(GO) test $(RACE) -timeout 20m $(TESTFLAGS) ./...

lint:
	$(GO) vet ./...
	$(GOLANGCI) run ./...

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/postrider ./cmd/postrider

# Beyond the schedules of make test: SCHEDULES for each pair of source and fault.
SCHEDULES ?= 100

schedules:
	$(GO) test -race -timeout 120m -run "TestEveryMail|TestEveryRecipient|TestRestarts" ./cmd/postrider -args -schedules $(SCHEDULES) \
		-schedule-seed $$(date +%s) -restarts $$((20 * $(SCHEDULES))) -restart-seed $$(date +%s) \
		-moods $$((5 * $(SCHEDULES))) -mood-seed $$(date +%s)

# BENCHFLAGS, such as -only smtp or -quick.
BENCHFLAGS ?=

bench:
	$(TESTENV) $(GO) run ./cmd/bench $(BENCHFLAGS)

benchmarks:
	$(TESTENV) $(GO) test -run '^$$' -bench . -benchmem -timeout 20m $(TESTFLAGS) ./...

# A run of `go test -fuzz` takes one target of one package.
fuzz:
	@set -e; for file in $$(grep -rlE --include='*_test.go' '^func Fuzz' .); do \
		for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

# CRASHFLAGS, such as -seed 7 -v, are for the run without a mutation.
CRASHFLAGS ?=

crash:
	$(GO) run ./cmd/crash $(CRASHFLAGS)
	@set -e; for mutation in fence low-water margin; do $(GO) run ./cmd/crash -mutate $$mutation; done
