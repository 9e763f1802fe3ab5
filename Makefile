# Every target works on a fresh clone with nothing but Python 3.11+ and make.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
BIN := .venv/bin
ARGS ?=
# Tests start processes by the hundred. Where the environment forbids to keep what was compiled, as that of many
# containers does, each would compile everything anew, which is half of its start.
unexport PYTHONDONTWRITEBYTECODE
# Much of the tests' time is waiting, so three workers share them, each on a Kafka and a PostgreSQL of its own. Servers that
# you name serve one worker: some tests say what nobody else may do there.
WORKERS ?= $(if $(STATESET_KAFKA_BOOTSTRAP_SERVERS)$(STATESET_DATABASE_URL),1,3)

.DEFAULT_GOAL := help
.PHONY: help setup proto descriptors verify fix test test-fast test-broker test-guarantees test-e2e demo up bench wheel-test

help:  ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed  ## the virtual environment, from the lock file

CONTENTS := pyproject.toml uv.lock proto/pyproject.toml proto/hatch_build.py consumers/sdk/pyproject.toml \
	$(shell find proto/stateset -name '*.proto')

# uv keeps its downloads in the user's home; here, for a user that has none, or none that can be written.
CACHE = $${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:-/nonexistent}/.cache}/uv}
SYNC = { mkdir -p "$(CACHE)" && test -w "$(CACHE)"; } 2>/dev/null || export UV_CACHE_DIR=.venv/.uv-cache; \
	UV_PYTHON_DOWNLOADS=never $(UV) sync --quiet --locked --inexact --all-packages --all-extras --python $(BIN)/python

# Without what only tests call.
.venv/.runs: $(CONTENTS)
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null 2>&1 || test -x .venv/bin/uv || $(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(SYNC)
	@touch $@

.venv/.installed: .venv/.runs
	@$(SYNC) --all-groups
	@touch $@

proto: setup  ## format the contracts and regenerate their types
	$(BIN)/buf format -w proto
	@rm -f .venv/.runs && $(MAKE) --no-print-directory setup

descriptors: setup  ## the contracts as Envoy reads them
	@mkdir -p dist
	$(BIN)/buf build proto -o dist/descriptors.binpb

verify: setup  ## formatting, lint, types, layers and contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb

fix: setup  ## mend what verify can mend by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w proto

# The brokers of tests live for seconds: compiling their code well costs 2 s of CPU at each of their starts, and looking for
# their classes in jars 1.5 s.
test: setup  ## everything that CI runs; WORKERS=1 for one test at a time
	@export JDK_JAVA_OPTIONS="$${JDK_JAVA_OPTIONS:--XX:TieredStopAtLevel=1 $$($(BIN)/python -m tests.harness.kafka_classes .venv)}"; \
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: setup  ## without the tests that start processes
	$(BIN)/pytest tests/unit tests/contract $(ARGS)

test-guarantees: setup  ## faults 50 times each, 10,000 requests an RPC; FAULTS=5 FUZZ=100 for less, SEED=… to play again
	FAULTS=$${FAULTS:-50} FUZZ=$${FUZZ:-10000} $(BIN)/pytest -s tests/guarantees $(ARGS)

test-broker: setup  ## what needs a real Kafka
	$(BIN)/pytest tests/broker $(ARGS)

test-e2e: setup  ## the whole system: its commands, its demo
	$(BIN)/pytest tests/e2e $(ARGS)

demo: .venv/.runs  ## the main job on real orders: up, replay, verify, report, stop
	$(BIN)/stateset demo $(ARGS)

up: .venv/.runs  ## everything on this machine until Ctrl-C
	$(BIN)/stateset up $(ARGS)

bench: setup  ## our servers against bare ones, by CPU time, in one run
	$(BIN)/python -m tests.bench $(ARGS)

wheel-test: setup  ## the two distributions that other teams install, in an environment of their own
	rm -rf dist && $(UV) build --quiet --wheel --out-dir dist --package stateset-contracts
	$(UV) build --quiet --wheel --out-dir dist --package stateset-client
	$(PYTHON) -m venv --clear dist/venv && $(UV) pip install --quiet --python dist/venv/bin/python dist/*.whl
	cd dist && venv/bin/python -c "from stateset_client import OrderClient, Subscription; from stateset_client.testing import FakeSync; print('stateset-client imports')"
	! dist/venv/bin/python -c "import sqlalchemy" 2>/dev/null
