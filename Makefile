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
	./services/ingest ./services/matcher ./services/sender ./services/recorder ./services/notifier ./services/doorstep ./services/e2e ./services/e2e/observe ./services/e2e/scale

# The image: its name, the engine (podman does as well), and the two images it is made of, if not the Dockerfile's own.
DOCKER ?= docker
IMAGE  ?= ghcr.io/doorstep-dev/doorstep
COMMIT  = $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
EPOCH   = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
CREATED = $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build image release demo test test-real test-browser test-containers race lint fmt tidy alone proto bench fault away scale acls upgrade api-fuzz hostile chart chart-pods ci-full alerts

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the program: bin/doorstep
	go build -ldflags '$(LDFLAGS)' -o bin/doorstep ./services/doorstep

image: ## build the container image IMAGE:VERSION with the engine DOCKER, of GO_IMAGE on BASE_IMAGE
	DOCKER_BUILDKIT=1 $(DOCKER) build -f deploy/Dockerfile -t $(IMAGE):$(VERSION) \
		--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg SOURCE_DATE_EPOCH=$(EPOCH) --build-arg CREATED=$(CREATED) \
		$(if $(GO_IMAGE),--build-arg GO_IMAGE=$(GO_IMAGE)) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) .
	@$(DOCKER) run --rm $(IMAGE):$(VERSION) version
	@$(DOCKER) image inspect --format '$(IMAGE):$(VERSION) {{.Id}} {{.Size}} bytes' $(IMAGE):$(VERSION)

release: ## archives, checksums, chart and image of VERSION=v1.2.3, below dist/
	deploy/release/release '$(if $(filter command line environment,$(origin VERSION)),$(VERSION))'

demo: build ## show it working: events in, signed webhooks out, retries; Ctrl-C ends it
	bin/doorstep up --demo

test: ## all tests, on the embedded servers
	go test $$(go list work | grep -v -e /pkg/archtest -e /services/e2e)
	go test -count=1 $(UNCACHED)

test-real: ## the suites on Apache Kafka, Redis, PostgreSQL, Exim, Prometheus: TEST_KAFKA, TEST_REDIS, TEST_POSTGRES, TEST_SMTP, else deploy/local/servers
	TEST_REQUIRE_REAL=1 E2E_RUNNER=processes deploy/local/servers run go test -count=1 $(REAL)
	AWAY_TIME=short go test -count=1 ./services/e2e/away # by itself: it holds what is promised of times

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

acls: ## each service as a user of its own with the ACLs that it needs, and without (needs Redis and PostgreSQL installed)
	TEST_REQUIRE_REAL=1 deploy/local/servers run go test -count=1 -v -timeout 30m ./services/e2e/acls

upgrade: ## an older Doorstep replaced process by process under load, in UPGRADE_SEEDS (3) orders; UPGRADE_FROM names its commit
	TEST_REQUIRE_REAL=1 UPGRADE_SEEDS=$(or $(UPGRADE_SEEDS),3) deploy/local/servers run go test -count=1 -v -timeout 60m ./services/e2e/upgrade

api-fuzz: build ## what schemathesis thinks up against the running API, on SQLite and PostgreSQL (root, Python with venv; ten minutes)
	deploy/local/api-fuzz

alerts: ## the alert rules against their tests, by promtool (Debian: prometheus)
	promtool check rules helm/doorstep/files/alerts.yaml
	promtool test rules deploy/prometheus/alerts_test.yaml

hostile: ## every kind of hostile receiver, with the real limits, and the memory it costs over three minutes
	cd pkg/post && TEST_SLOW=1 HOSTILE_TIME=3m go test -count=1 -v -timeout 30m .
	cd services/sender && TEST_SLOW=1 go test -count=1 -run TestHostile -v .

# helm/render has helm's libraries, and is no part of the workspace: nothing else is to be compiled with them.
chart: export GOWORK = off
chart: ## the Helm chart: lint, what it renders, wrong values; objects against the schemas of Kubernetes, Prometheus and KEDA (minutes at first)
	go -C helm/render mod tidy -diff
	go -C helm/render vet ./...
	go -C helm/render test -count=1 ./...
	go -C helm test -count=1 ./...
	go -C services/doorstep test -count=1 -run TestChart .

chart-pods: ## the chart's pods as containers: stores, jobs, services, an event delivered; engine and images are made where there are none (root)
	deploy/images/test pods

ci-full: export TEST_SLOW = 1
ci-full: lint alone test test-browser race ## all checks, also those too long for every change

test-browser: ## the web console in a real Chromium, which must be on the PATH
	TEST_REQUIRE_BROWSER=1 go test -count=1 -run 'TestBrowser|TestAReceiverThatKeepsFailing' ./services/console ./services/e2e

test-containers: ## the way of an event on Kafka, Redis and PostgreSQL in containers; engine and images are made where there are none
	deploy/images/test
