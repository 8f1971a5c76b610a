# Everything a fresh machine needs: Python 3.11 or newer and this file. `make demo`, `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --timeout 15 --retries 1
TESTS ?= tests
NO_NETWORK := { echo "Packages could not be installed: check the network or the package index settings, then run make again."; exit 1; }

SEEDS ?= 100
WORLD ?= simulation
JOBS ?= $(shell nproc)

.PHONY: simulate demo test test-long check format bench lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: set PYTHON="; exit 1; }
	@echo "== creating $(VENV) and installing the locked packages (first time: a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.lock || $(NO_NETWORK)
	@$(PIP) install --no-deps --no-build-isolation -e . || $(NO_NETWORK)
	@touch $@

demo: $(VENV)/.installed
	@echo "== demo: three nodes, a broker, the leader killed and started again"
	@$(BIN)/quorate demo

test: $(VENV)/.installed
	@echo "== format, lint, types"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@echo "== tests with a real broker"
	@$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term:skip-covered $(TESTS)

test-long: $(VENV)/.installed
	@$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/.installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -m unit $(TESTS)

# `make simulate SEEDS=2000` runs for long; `make simulate SEED=7 ARGS=--trace` plays one again, ARGS=--shrink with fewer faults.
# WORLD=lanes: the scheduler of the executor; WORLD=claims: the flow of claimed tasks.
simulate: $(VENV)/.installed
	@$(BIN)/python -m tests.$(WORLD) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --jobs $(JOBS)) $(ARGS)

bench: $(VENV)/.installed
	@echo "== the plotting library, for the pictures"
	@$(PIP) install -e '.[bench]' || echo "no pictures: the plotting library could not be installed"
	@$(BIN)/python -m bench.noop --json
	@$(BIN)/python -m bench.submit --json
	@$(BIN)/python -m bench.latency --json
	@$(BIN)/python -m bench.lanes --json
	@$(BIN)/python -m bench.ledger --json
	@$(BIN)/python -m bench.failover --json

format: $(VENV)/.installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(VENV)/.installed
	@$(PIP) install uv || $(NO_NETWORK)
	@$(BIN)/uv pip compile -q --universal --no-strip-extras --generate-hashes --no-header --extra broker --extra dev --python-version 3.11 pyproject.toml -o requirements.lock

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist
