# Every command a person types. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := vgpu recommender webhook metrics_adapter devcluster tests
ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run cluster test unit e2e bench check lint types fmt lock clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the virtual environment .venv from nothing but python3

$(STAMP): pyproject.toml requirements.lock vgpu/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed, and $(PYTHON) is {sys.version.split()[0]}: name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP) ## Start everything and tell the story live (ARGS=--once: exit when it is told)
	$(BIN)/vgpu-autoscaler demo $(ARGS)

cluster: $(STAMP) ## Keep a real control plane running and print the KUBECONFIG to export
	$(BIN)/vgpu-autoscaler cluster $(ARGS)

test: export HYPOTHESIS_PROFILE ?= usual
test: check unit e2e ## Run check, unit with more examples, and end-to-end tests

# Bytecode is kept in any case: pytest rewrites the assertions of all tests, which takes many seconds.
unit: $(STAMP) ## Run the unit tests (no cluster, under a minute)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --ignore tests/e2e --numprocesses auto $(PYTEST_ARGS)

# They wait more than they work: two files at a time, each with control planes of its own.
e2e: $(STAMP) ## Run the end-to-end tests on a real control plane
	$(BIN)/vgpu-autoscaler cluster --build-only
	$(BIN)/pytest tests/e2e --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

bench: $(STAMP) ## Measure speed and memory beside their goals (ARGS: --only NAME, --json FILE)
	$(BIN)/python -m tests.bench $(ARGS)

check: lint types ## Run ruff, mypy and import-linter

lint: $(STAMP) ## Run ruff and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP) ## Run mypy in strict mode
	$(BIN)/mypy

fmt: $(STAMP) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## Renew requirements.lock (needs uv on the PATH)
	uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --extra devcluster --extra compiled --group dev --upgrade pyproject.toml --output-file requirements.lock

clean: ## Remove the virtual environment and tool caches (not the compiled control plane)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
