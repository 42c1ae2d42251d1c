# What a person or CI runs; `make` alone lists it. A target installs what it needs, once: the environments
# are filled from the hash-locked requirements and filled again only when a lock changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
PORT ?= 3000
VENV := .venv
PEERS := .venv-peers

BENTOML_DO_NOT_TRACK ?= true
ORT_DISABLE_TELEMETRY ?= 1
export BENTOML_DO_NOT_TRACK ORT_DISABLE_TELEMETRY
unexport BENTOML_CONTAINERIZED  # with it BentoML does not start a dead process again

.PHONY: help serve traffic test check fix bench image lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

serve traffic bench: export BENTOML_HOME ?= $(CURDIR)/.understudy/bentoml
serve traffic bench: export UNDERSTUDY_HOME ?= $(CURDIR)/.understudy

serve: $(VENV)/.training  ## build the demo's bundles if missing, then serve production and shadow (PORT=3000)
	@$(VENV)/bin/python -c 'import socket; socket.create_server(("", $(PORT))).close()' 2>/dev/null || \
	  { echo "Port $(PORT) cannot be had: it is taken, or not a port. Choose another: make serve PORT=3001" >&2; exit 1; }
	@mkdir -p "$$BENTOML_HOME" "$$UNDERSTUDY_HOME"
	@$(VENV)/bin/python -m models demo
	@printf '%s\n' "" "Ready in some seconds; Ctrl-C stops it. In a second terminal: make traffic" \
	  "  http://127.0.0.1:$(PORT)/               the API, to read and to try" \
	  "  http://127.0.0.1:$(PORT)/console        production against candidate, and the verdict" \
	  "  http://127.0.0.1:$(PORT)/shadow/report  the same for programs" \
	  "  http://127.0.0.1:$(PORT)/metrics        for Prometheus" \
	  "  http://127.0.0.1:$(PORT)/docs.json      OpenAPI" ""
	@exec 9> "$$UNDERSTUDY_HOME/serve.lock"; flock -n 9 || \
	  { echo "A server runs with these homes already, and would lose its counters. Give the second one its own:" \
	    "make serve PORT=$(PORT) UNDERSTUDY_HOME=/tmp/second BENTOML_HOME=/tmp/second/bentoml" >&2; exit 1; }; \
	  exec $(VENV)/bin/bentoml serve service.app:Predictor --port $(PORT) --timeout-graceful-shutdown 10

traffic: $(VENV)/.training  ## replay the demo's held-out applications against `make serve`
	@$(VENV)/bin/python -m load_tests.traffic --url http://127.0.0.1:$(PORT) $(ARGS)

test: $(VENV)/.dev  ## the whole suite; REQUIRE_SYSTEM=1 fails where a system package is missing; ARGS="-k canary"
	@$(VENV)/bin/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, layers
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

fix: $(VENV)/.dev  ## format, and mend what the linter can
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

bench: $(VENV)/.dev $(PEERS)/.peers  ## beside other servers, and explanations beside shap; ratios to load_tests/results/
	@status=0; $(VENV)/bin/python -m load_tests.bench $(ARGS) || status=1; \
	  $(VENV)/bin/python -m load_tests.explanations --quick || status=1; \
	  $(VENV)/bin/python -m load_tests.uncertainty --quick --only predictions || status=1; exit $$status

image: $(VENV)/.dev  ## build the image without a registry and run it as a pod would; takes root, debootstrap, buildah
	@$(VENV)/bin/python -m load_tests.image $(ARGS)

# Keeps every pin that still fits; `make lock ARGS=--upgrade` takes the newest.
lock: $(VENV)/.bootstrap  ## resolve pyproject.toml into requirements-*.lock
	@$(COMPILE) pyproject.toml -o requirements-serving.lock
	@$(COMPILE) --group training -c requirements-serving.lock -o requirements-training.lock
	@$(COMPILE) --group gpu -c requirements-serving.lock -o requirements-gpu.lock
	@$(COMPILE) --group dev -c requirements-serving.lock -c requirements-training.lock -o requirements-dev.lock
	@$(COMPILE) --group peers -o requirements-peers.lock
	@$(COMPILE) --group bootstrap -o requirements-bootstrap.lock

COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(ARGS)

clean:  ## remove the environments, the caches and the demo's state (.understudy)
	rm -rf $(VENV) $(PEERS) .understudy .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments: each set is installed over the one before; a stamp stands for its lock ------------------

$(VENV)/.serving: $(VENV)/.bootstrap
$(VENV)/.training: $(VENV)/.serving
$(VENV)/.dev: $(VENV)/.training
$(PEERS)/.peers: $(VENV)/.bootstrap | $(PEERS)/bin/python

$(VENV)/.bootstrap: requirements-bootstrap.lock | $(VENV)/bin/python
	@$(VENV)/bin/python -m pip $(PIP_INSTALL) $<
	@touch $@

# uv is several times faster; pip knows mirrors and proxies that are configured for pip alone.
$(VENV)/.% $(PEERS)/.%: requirements-%.lock
	@echo "Installing the $* packages into $(@D)"
	@$(VENV)/bin/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $< || \
	  { echo "uv could not; trying pip" >&2; $(@D)/bin/python -m pip $(PIP_INSTALL) $<; }
	@touch $@

PIP_INSTALL := install --quiet --disable-pip-version-check --require-hashes -r

$(VENV)/bin/python $(PEERS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.platform != "linux")' || \
	  { echo "Understudy needs Linux and Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(@D)/..
