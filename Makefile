# `make` alone lists the targets. Everything runs from .venv, which `make setup` makes from requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Relative, so that a path with spaces does no harm.
BIN := .venv/bin
STAMP := .venv/.complete
# Tests wait more than they compute. A file's tests stay together: they share what is slow to start.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

# An interpreter that exists may still not run (a version manager's shim), so each is tried.
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	2>/dev/null && echo "$$name" && break; done)
UV ?= $(shell command -v uv || echo .tools/bin/uv)

# The interpreter found above is the one to use; uv's own settings of the machine stay in force.
export UV_PYTHON_DOWNLOADS := never

# Some of River's predictions depend on the order of sets of strings: the same in every process.
export PYTHONHASHSEED := 0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv from requirements.lock; does nothing when it is up to date

$(STAMP): requirements.lock pyproject.toml | $(UV)
	@rm -f $(STAMP)
	@test -n "$(PYTHON)" || { echo "riverrun needs Python 3.11 or 3.12; none found on PATH" >&2; exit 1; }
	$(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# Only where uv is not on PATH.
.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "riverrun needs Python 3.11 or 3.12; none found on PATH" >&2; exit 1; }
	@"$(PYTHON)" -m venv .tools || { rm -rf .tools; \
		echo "Python's venv module does not work here (on Debian: apt install python3.11-venv)" >&2; exit 1; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7,<1'

.PHONY: connectors
connectors: $(STAMP) ## fetch Flink's Kafka connector, and a Kafka broker for trying things
	$(BIN)/python -m connectors.jars

.PHONY: run
run: $(STAMP) ## the demo: a Flink job learns from delayed labels and agrees with plain River
	@$(BIN)/riverrun demo

.PHONY: test
test: connectors ## every test, those on real clusters included; ARGS="-k join" narrows it, WORKERS=0 is one by one
	$(PYTEST)

.PHONY: test-fast
test-fast: $(STAMP) ## the tests that start no Flink
	$(PYTEST) -m "not cluster and not kafka"

.PHONY: lint
lint: $(STAMP) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## mypy
	$(BIN)/mypy

.PHONY: perf
perf: connectors ## every measurement of docs/performance.md; takes two hours and a quiet machine
	for script in throughput recovery drain latency published scaling snapshot pending audit; do \
		$(BIN)/python perf/$$script.py; \
	done

.PHONY: formats
formats: $(STAMP) ## make docs/formats.md anew from the code
	$(BIN)/python -m events.formats

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

.PHONY: lock
lock: | $(UV) ## make the locks anew from pyproject.toml; ARGS=--upgrade takes newer versions
	$(COMPILE) --group dev --group perf --output-file requirements.lock pyproject.toml
	$(COMPILE) --group mlflow-server --constraints requirements.lock --no-annotate \
		--output-file tests/mlflow/server.lock

.PHONY: clean
clean: ## remove .venv, tools and caches
	rm -rf .venv .tools build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
