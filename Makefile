# Millrace. `make run` starts a server, `make test` runs every test; both install what they miss.

SHELL := /bin/bash
CARGO ?= cargo
# The server that `make run` starts with the same environment, and what the bots do there.
LOADTEST_SERVER ?= --url https://localhost:$(or $(HTTPS_PORT),4443) --secret $(or $(OPENVIDU_SECRET),MY_SECRET)
LOADTEST ?= --rooms 2 --participants 4 --audio --duration 30s
TARGET := $(or $(CARGO_TARGET_DIR),target)
# How servers and clients of the benches are scheduled; on a machine with other work: make bench-fanout BENCH_AS="chrt -r 1"
BENCH_AS ?=

.DEFAULT_GOAL := help
.PHONY: help run build page test lint unit cable gates schema browser bench bench-baseline bench-signalling bench-rest \
	bench-fanout bench-storm bench-peers loadtest clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

run: ## Build, start both processes, and say where to go; Ctrl-C stops them
	@deploy/run.sh

build: page ## Build target/release/millrace-dataplane and target/release/millrace-controlplane
	$(CARGO) build --release --locked --bin millrace-dataplane --bin millrace-controlplane

page: controlplane/web/dist/index.html

controlplane/web/dist/index.html: $(shell find controlplane/web -path '*/node_modules' -prune -o -path '*/dist' -prune -o -type f -print)
	deploy/install.sh node
	cd controlplane/web && npm ci --no-audit --no-fund && npm run build

test: ## Install what the tests need and run every one of them
	deploy/install.sh node python browser ffmpeg valgrind cable
	$(MAKE) lint unit cable gates schema browser

lint: page ## Formatting, lints and documentation, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked
	deploy/check-cores.sh

unit: page ## Unit, simulated-network and process tests, and the fuzzing corpora
	deploy/install.sh ffmpeg
	$(CARGO) test --workspace --locked

cable: ## The cable that servers are measured behind, in network namespaces of its own; needs root
	deploy/install.sh cable
	$(CARGO) test --locked -p millrace-bench --test cable

schema: build target/schemathesis/installed ## REST requests of all kinds against the API's own description
	target/schemathesis/bin/python tests/schemathesis/run.py

target/schemathesis/installed: tests/schemathesis/requirements.txt
	deploy/install.sh python
	python3 -m venv --clear target/schemathesis
	target/schemathesis/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

browser: build ## Browser tests: unmodified openvidu-browser in Chromium
	deploy/install.sh node browser ffmpeg
	$(CARGO) build --release --locked -p millrace-loadtest --bin millrace-loadtest
	cd tests/browser && npm ci --no-audit --no-fund && npm test

gates: ## Instructions per packet, held against bench/baseline.json
	deploy/install.sh valgrind
	$(CARGO) run --release --locked -p millrace-bench -- gates

bench: ## Cost of a forwarded packet against the floor of the same run, and memory, as a report in target/bench
	deploy/install.sh valgrind
	$(CARGO) run --release --locked -p millrace-bench

bench-baseline: ## Count instructions anew and keep them as the baseline of the gates
	deploy/install.sh valgrind
	$(CARGO) run --release --locked -p millrace-bench -- baseline

bench-signalling: build ## What joins, publications and departures of up to 200 participants cost, without media
	$(CARGO) run --release --locked -p millrace-bench --bin signalling

bench-rest: build ## Latency of new sessions and connections at 500 requests/s, with up to 10,000 sessions
	$(CARGO) run --release --locked -p millrace-bench --bin rest

bench-fanout: ## Load on the data plane as a process until packets are lost, and its latency and cost at parts of that
	$(CARGO) build --release --locked --bin millrace-dataplane --bin fanout
	$(BENCH_AS) $(TARGET)/release/fanout run

bench-storm: ## A thousand clients that join the data plane at once
	$(CARGO) build --release --locked --bin millrace-dataplane --bin fanout
	$(BENCH_AS) $(TARGET)/release/fanout storm

bench-peers: ## The same load on other media servers beside ours, on the loopback and behind a cable (root); installs and builds them first (about 15 minutes, once)
	-bench/peers/janus.sh $(TARGET)/bench/peers
	-bench/peers/mediasoup.sh $(TARGET)/bench/peers
	-bench/peers/pion.sh $(TARGET)/bench/peers
	deploy/install.sh cable
	$(CARGO) build --release --locked --bin millrace-dataplane --bin fanout
	$(BENCH_AS) $(TARGET)/release/fanout peers
	$(BENCH_AS) $(TARGET)/release/fanout peers --wire plain
	$(BENCH_AS) $(TARGET)/release/fanout peers --wire offload

loadtest: ## Bots in rooms of the server that `make run` started; LOADTEST="--rooms 10 ..." for others
	deploy/install.sh ffmpeg
	$(CARGO) run --release --locked -p millrace-loadtest --bin millrace-loadtest -- run $(LOADTEST_SERVER) $(LOADTEST)

clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf controlplane/web/dist controlplane/web/node_modules tests/browser/node_modules
