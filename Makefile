# Doorstep. Needs Go and make, nothing else; `make` alone lists the targets.

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BUF           := go run github.com/bufbuild/buf/cmd/buf@v1.57.2

MODULES := $(shell sed -n 's|^[[:space:]]*\./||p' go.work)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/doorstep-dev/doorstep/pkg/obs.version=$(VERSION)

# Packages whose tests look at other modules: the test cache does not see those.
UNCACHED := ./pkg/archtest ./services/e2e/...

# Packages whose tests know real servers: they run on those that the environment names, else on embedded ones.
# The longest is first.
REAL := ./services/console ./pkg/testkit ./pkg/kafka ./pkg/redisstate ./pkg/sqldb ./pkg/sqlstore ./pkg/sqlhistory ./pkg/registry ./pkg/publish ./pkg/mail \
	./services/ingest ./services/matcher ./services/sender ./services/recorder ./services/notifier ./services/doorstep ./services/e2e ./services/e2e/away ./services/e2e/scale

.DEFAULT_GOAL := help
.PHONY: help build demo test test-real test-browser test-containers race lint fmt tidy alone proto bench fault away scale hostile ci-full

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the program: bin/doorstep
	go build -ldflags '$(LDFLAGS)' -o bin/doorstep ./services/doorstep

demo: build ## show it working: events in, signed webhooks out, retries; Ctrl-C ends it
	bin/doorstep up --demo

test: ## all tests, on the embedded servers
	go test $$(go list work | grep -v -e /pkg/archtest -e /services/e2e)
	go test -count=1 $(UNCACHED)

test-real: ## the suites on Apache Kafka, Redis, PostgreSQL, Exim: TEST_KAFKA, TEST_REDIS, TEST_POSTGRES, TEST_SMTP, else deploy/local/servers
	TEST_REQUIRE_REAL=1 E2E_RUNNER=processes deploy/local/servers run go test -count=1 $(REAL)

race: ## all tests with the race detector (minutes; needs a C compiler)
	go test -race $$(go list work | grep -v -e /pkg/archtest -e /services/e2e)
	go test -race -count=1 $(UNCACHED)

lint: ## gofmt, go vet, golangci-lint (built at its first run: a minute)
	@unformatted=$$(gofmt -l $(MODULES)); test -z "$$unformatted" || { echo "gofmt these: $$unformatted"; exit 1; }
	go vet work
	$(GOLANGCI_LINT) run --allow-serial-runners $(MODULES:%=./%/...)

fmt: ## format all Go files
	gofmt -w $(MODULES)

tidy: ## bring go.mod, go.sum and go.work in order
	for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy) || exit 1; done
	go work sync
	go build work # which has its own view of go.work.sum

alone: ## each module by itself, without go.work: tidy, and it builds
	for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy -diff && GOWORK=off go build ./...) || exit 1; done

proto: ## generate Go from proto/, and lint it
	cd proto && $(BUF) lint && $(BUF) generate

bench: build ## measure Doorstep against ceilings of the same run, for BENCH_TIME (2s) each; bench.html, bench.json
	bin/doorstep bench --time $(or $(BENCH_TIME),2s) --html bench.html --json bench.json

fault: ## Doorstep on three brokers, Redis and PostgreSQL, killed and stopped under load for FAULT_TIME (15m); TEST_SEED repeats a plan
	cd services/e2e/fault && FAULT_TIME=$(or $(FAULT_TIME),15m) go test -count=1 -run TestFaults -v -timeout 60m .

away: ## take the stores away from Doorstep on real servers, one after the other, for their full times (half an hour)
	cd services/e2e/away && AWAY_TIME=full go test -count=1 -run TestAway -v -timeout 90m .

scale: ## senders from one to six and back, killed behind a stuck head, with a million deliveries waiting (half an hour)
	cd services/e2e/scale && SCALE_TIME=full go test -count=1 -v -timeout 90m .

hostile: ## every kind of hostile receiver, with the real limits, and the memory it costs over three minutes
	cd pkg/post && TEST_SLOW=1 HOSTILE_TIME=3m go test -count=1 -v -timeout 30m .
	cd services/sender && TEST_SLOW=1 go test -count=1 -run TestHostile -v .

ci-full: export TEST_SLOW = 1
ci-full: lint alone test test-browser race ## all checks, also those too long for every change

test-browser: ## the web console in a real Chromium, which must be on the PATH
	TEST_REQUIRE_BROWSER=1 go test -count=1 -run 'TestBrowser|TestAReceiverThatKeepsFailing' ./services/console ./services/e2e

test-containers: ## the way of an event on Kafka, Redis and PostgreSQL in containers; engine and images are made where there are none
	deploy/images/test
