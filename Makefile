# CI and newcomers call these targets and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

.venv: .venv/installed  ## Build the environment from requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Folkmoot needs Python 3.11 or later; say which: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: run
run: .venv/installed  ## Serve at http://127.0.0.1:8000 on a database of its own
	@$(BIN)/folkmoot serve

.PHONY: test
test: .venv/installed  ## Run the tests on real PostgreSQL servers
	@$(BIN)/python -m pytest

.PHONY: check
check: .venv/installed  ## Lint, types, migrations in step with the models
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/alembic upgrade head
	@$(BIN)/alembic check

.PHONY: lock
lock: .venv/installed  ## Pin every dependency anew (needs the network)
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --no-annotate --group dev pyproject.toml -o requirements.lock
