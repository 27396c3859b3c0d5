# Everything that is done to this repository. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
HOST ?= 127.0.0.1
PORT ?= 8000

# Folders with a package.json of their own; those that do not exist are left out.
NODE_PROJECTS := $(patsubst %/package.json,%,$(wildcard web/package.json tests/interop/package.json tests/oracle/package.json tests/e2e/package.json))
NODE_STAMPS := $(addsuffix /node_modules/.installed,$(NODE_PROJECTS))
WEB_SOURCES := $(shell find web/src web/public web/index.html web/package.json web/*.ts web/tsconfig*.json -type f 2>/dev/null)
WEB_CLIENT := $(if $(wildcard web/package.json),web/dist/index.html)
# Tests of what is compiled: they run against the source and against the machine code made from it.
COMPILED_TESTS := tests/unit/crdt tests/model $(wildcard tests/unit/syncd/test_room.py tests/unit/syncd/test_connection_counts.py \
	tests/unit/syncd/test_frames.py tests/unit/syncd/test_turns.py tests/unit/syncd/test_log_writer.py tests/unit/syncd/test_node.py \
	tests/unit/syncd/test_endpoint.py tests/unit/syncd/test_registry.py tests/unit/syncd/test_room_names.py tests/unit/syncd/test_origin.py \
	tests/unit/persistence/test_sqlite.py tests/conformance/test_sqlite_store.py)
QUICK := not slow and not interop and not e2e and not faults and not cluster
HOT_SOURCES := $(wildcard crdt/*.py syncd/*.py persistence/*.py)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

.PHONY: run
run: $(VENV)/.run $(WEB_CLIENT) ## Start the server and its web client at http://127.0.0.1:8000 (PORT=… to change)
	@echo "Open http://$(HOST):$(PORT) - Ctrl+C stops the server."
	exec $(BIN)/python -m syncd serve --host $(HOST) --port $(PORT)

.PHONY: run-compiled
run-compiled: $(VENV)/.dev $(WEB_CLIENT) build/compiled/.done ## The same with the hot modules as machine code (needs a C compiler)
	@echo "Open http://$(HOST):$(PORT) - Ctrl+C stops the server."
	PYTHONPATH=build/compiled exec $(BIN)/syncd serve --host $(HOST) --port $(PORT)

.PHONY: cluster
cluster: cluster-tools $(VENV)/.dev $(WEB_CLIENT) ## Start a real cluster on this machine (CLUSTER="--nodes 5" for other sizes)
	@$(BIN)/python -m syncd cluster up $(CLUSTER)
	echo "To end it: $(BIN)/syncd cluster down"

.PHONY: cluster-tools
cluster-tools: apt-cluster build/kafka/.installed ## Install what the cluster consists of: Redis, Kafka, Postgres and nginx

.PHONY: kafka
kafka: build/kafka/.installed ## Fetch Kafka's jars into build/kafka

.PHONY: test
test: apt cluster-tools $(VENV)/.dev $(NODE_STAMPS) $(WEB_CLIENT) ## Install what is missing and run every check and every test
	@$(MAKE) lint unit-compiled
	if [ -f web/package.json ]; then echo "== web tests"; npm --prefix web run test --if-present; fi
	echo "== the whole test-suite"
	$(BIN)/pytest -q

.PHONY: check
check: lint unit unit-compiled ## The quick gate: format, lint, types, layers, unit tests pure and compiled

.PHONY: lint
lint: $(VENV)/.dev # Everything that only reads the code
	@echo "== ruff"
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	echo "== mypy"
	$(BIN)/mypy
	$(BIN)/mypy deploy/packaging
	echo "== import-linter"
	$(BIN)/lint-imports
	if [ -x web/node_modules/.bin/tsc ]; then echo "== tsc"; (cd web && node_modules/.bin/tsc --noEmit); fi

.PHONY: unit
unit: $(VENV)/.dev # Unit tests; `make test` runs them as part of the whole suite instead
	@echo "== unit tests, pure Python"
	$(BIN)/pytest -q -n $(JOBS) -m "$(QUICK)" tests/unit $(wildcard tests/model) $(wildcard tests/test_*.py)

.PHONY: unit-compiled
unit-compiled: $(VENV)/.dev build/compiled/.done
	@echo "== unit tests of what is compiled"
	SYNCD_EXPECT_COMPILED=1 PYTHONPATH=build/compiled $(BIN)/pytest -q -n $(JOBS) -m "$(QUICK)" --import-mode=append -p no:cacheprovider $(COMPILED_TESTS)

.PHONY: bench
bench: $(VENV)/.dev build/compiled/.done ## Measure the cost of a keystroke inside crdt, pure Python and compiled
	@$(BIN)/python -m bench.validator

.PHONY: bench-tools
bench-tools: build/bench/load build/bench/relay ## Build the load generator and the relay of the benchmarks (C)

build/bench/load build/bench/relay &: $(wildcard bench/load/*.c bench/load/*.h) bench/load/build.sh
	@bench/load/build.sh
	touch build/bench/load build/bench/relay

.PHONY: compare
compare: $(VENV)/.bench bench-tools ## Compare syncd with other servers: about 40 minutes, writes bench/RESULTS.md (CONTINUE=1 goes on)
	@$(BIN)/python -m bench.compare $(if $(CONTINUE),--continue) $(COMPARE)

.PHONY: compare-quick
compare-quick: $(VENV)/.dev bench-tools ## The same in a few minutes, to see that it works, into build/bench/quick
	@$(BIN)/python -m bench.compare --quick $(if $(CONTINUE),--continue) $(COMPARE)

.PHONY: format
format: $(VENV)/.dev ## Format the code and apply the safe lint fixes
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: compile
compile: build/compiled/.done ## Compile the hot modules with mypyc into build/compiled

.PHONY: web
web: $(WEB_CLIENT) ## Build the web client into web/dist

.PHONY: docs
docs: $(VENV)/.dev ## Renew the tables of settings, metrics and close codes in docs/
	@$(BIN)/python deploy/packaging/reference_tables.py

.PHONY: lock
lock: $(VENV)/.dev ## Renew the lock files from pyproject.toml (UPGRADE=1 for newer versions)
	@compile() { $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet $(if $(UPGRADE),--upgrade) "$$@"; }
	compile pyproject.toml -o requirements.lock
	compile pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	compile --group bench -c requirements-dev.lock -o requirements-bench.lock

.PHONY: clean
clean: ## Remove what was built (not the virtual environment, not node_modules, no data)
	@if [ -e build/cluster/state.json ]; then echo "A cluster is in build/cluster; first: $(BIN)/syncd cluster down" >&2; exit 1; fi
	rm -rf build dist web/dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +

.PHONY: apt
apt: # Debian packages of the test-suite
	@deploy/local/apt.sh python-venv=python3-venv chromium=chromium strace=strace gcc=gcc

.PHONY: apt-cluster
apt-cluster: # Debian packages of the services
	@deploy/local/apt.sh redis-server=redis-server redis-cli=redis-tools postgres=postgresql nginx=nginx java=default-jre-headless mvn=maven

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12 …)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Creating a virtual environment failed. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements.lock | $(BIN)/python
	@echo "Installing the server's dependencies"
	$(PIP) install --quiet --require-hashes -r requirements.lock
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing the development dependencies"
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@echo "Installing what draws the plots"
	$(PIP) install --quiet --require-hashes -r requirements-bench.lock
	touch $@

%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20.19 or newer with npm is needed for $*" >&2; exit 1; }
	echo "Installing the packages of $*"
	npm --prefix $* ci --no-audit --no-fund --loglevel=error
	touch $@

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES)
	@echo "Building the web client"
	npm --prefix web run --silent build
	touch $@

build/kafka/.installed: deploy/kafka/pom.xml
	@command -v mvn >/dev/null || { echo "Maven is needed to fetch Kafka. On Debian: apt-get install maven" >&2; exit 1; }
	echo "Fetching Kafka"
	rm -rf build/kafka
	mkdir -p build/kafka
	mvn --batch-mode --quiet --no-transfer-progress --file $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/build/kafka/lib
	touch $@

build/compiled/.done: $(HOT_SOURCES) deploy/packaging/compile_modules.py | $(VENV)/.dev
	@echo "Compiling the hot modules with mypyc"
	mkdir -p build
	$(BIN)/python deploy/packaging/compile_modules.py >build/compile.log 2>&1 || { tail -n 40 build/compile.log >&2; exit 1; }
	touch $@
