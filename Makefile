# Two commands set everything up: `make run` and `make test`. Nothing else has to be installed by hand.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Debian's packages that the tests drive as real servers and as a real browser.
TEST_PACKAGES := prometheus prometheus-alertmanager chromium
TEST_BINARIES := prometheus promtool prometheus-alertmanager amtool chromium
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
export DEBIAN_FRONTEND := noninteractive

.PHONY: run test lint unit integration end-to-end bench soak generated lock clean

run: $(VENV)/.runtime ## start the service on its embedded default (SQLite, loopback)
	$(BIN)/booking-monitor serve

test: lint unit integration end-to-end ## everything that CI runs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/pytest tests/unit -n auto $(PYTEST_ARGS)

integration: $(VENV)/.dev $(VENV)/.servers
	$(BIN)/pytest tests/integration -n 3 $(PYTEST_ARGS)

end-to-end: $(VENV)/.dev $(VENV)/.servers
	$(BIN)/pytest tests/end_to_end -n 3 $(PYTEST_ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.runtime: $(VENV)/bin/python requirements.lock requirements-build.lock pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock -r requirements-build.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements-dev.lock pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.runtime

$(VENV)/.bench: $(VENV)/.dev requirements-bench.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-bench.lock
	touch $@

$(VENV)/.servers: $(VENV)/bin/python
	for binary in $(TEST_BINARIES); do command -v $$binary >/dev/null || missing=1; done; \
	  if [ -n "$$missing" ]; then apt-get update -qq && apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES); fi
	touch $@

lock: ## pin every dependency with its hash
	uv pip compile --group build --universal --python-version 3.11 --generate-hashes --no-header -q -U -o requirements-build.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -q -U -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header -q -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	uv pip compile pyproject.toml --group dev --group bench --universal --python-version 3.11 --generate-hashes --no-header -q -c requirements-dev.lock -o requirements-bench.lock

bench: $(VENV)/.bench $(VENV)/.servers ## measure against the peers, side by side
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: $(VENV)/.dev $(VENV)/.servers ## all faults mixed, for SOAK_ARGS="--seconds 180"
	PYTHONPATH=tests $(BIN)/python -m soak $(SOAK_ARGS)

generated: $(VENV)/.dev ## write again what is generated from the sources
	$(BIN)/booking-monitor rules build
	$(BIN)/booking-monitor dashboards build
	$(BIN)/python -c 'from monitor.settings_page import reference_page; print(reference_page(), end="")' > docs/settings.md
	$(BIN)/python -c 'from monitor.telemetry.metrics import reference; print(reference(), end="")' > docs/metrics.md

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
