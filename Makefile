# CI and newcomers call these targets and nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

.venv: .venv/installed  ## Build the environment from requirements.lock

.venv/installed: requirements.lock lockstep/pyproject.toml folkmoot/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Folkmoot needs Python 3.11 or later; say which: make PYTHON=python3.12")'
	@echo "Building the environment in .venv (about a minute)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable lockstep --editable folkmoot
	@touch $@

.PHONY: run
run: .venv/installed  ## Serve at http://127.0.0.1:8000 on a database of its own
	@$(BIN)/folkmoot serve

.PHONY: test
test: .venv/installed  ## Run the tests on real PostgreSQL servers
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -m "not prove" -n 3 --dist loadfile --no-loadscope-reorder

.venv-floors/installed: lockstep/floors.lock lockstep/pyproject.toml
	@echo "Building an environment of Lockstep's lowest versions in .venv-floors"
	@$(PYTHON) -m venv .venv-floors
	@.venv-floors/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r lockstep/floors.lock
	@.venv-floors/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation --editable lockstep
	@touch $@

# What differs most between versions: private names, rendering, reflection, drivers.
SAMPLE := $(addprefix lockstep/tests/test_,private_names.py offline.py refusals.py savepoints.py archive.py)
FLOORS ?= $(if $(SHORT),$(SAMPLE),lockstep/tests)

.PHONY: floors
floors: .venv-floors/installed  ## Run Lockstep's tests on the lowest versions it supports; SHORT=1 a sample of them
	@.venv-floors/bin/python -m pytest -m "not prove" -n 2 --dist loadfile -p no:cacheprovider $(FLOORS)

.PHONY: wheel
wheel: .venv/installed  ## Install Lockstep's wheel in a new environment, and type what its first page says
	@$(BIN)/python -m pytest -m prove lockstep/tests/test_start_page.py

.PHONY: prove
prove: .venv/installed  ## Run the tests that take long: every kill point, millions of rows
	@$(BIN)/python -m pytest -m prove -n 2 --dist worksteal

.PHONY: prove-service
prove-service: .venv/installed  ## Kill and take back migrations of a service in use; SCALE=0.1: on fewer rows
	@PYTHONPATH=lockstep/tests:folkmoot/tests $(BIN)/python -m benchmarks.recovery --scale $(or $(SCALE),1)

.PHONY: fuzz
fuzz: .venv/installed  ## Fuzz every route with every check of schemathesis, for some minutes
	@FUZZ_EXAMPLES=300 $(BIN)/python -m pytest -q -k test_schemathesis

.PHONY: check
check: .venv/installed  ## Lint, types, migrations in step with the models
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q folkmoot/tests/test_migrations.py -k say_what_the_migrations_build

.PHONY: docs
docs: .venv/installed  ## Write what documents show anew: outputs of commands, pictures of the rooms and the pages
	@$(BIN)/python -m testing.rooms
	@PYTHONPATH=.:folkmoot/tests $(BIN)/python -m test_walkthrough
	@PYTHONPATH=.:folkmoot/tests $(BIN)/python -m screenshots

.PHONY: bench-online
bench-online: .venv/installed  ## Change tables in use, by plain Alembic and by Lockstep (ten minutes)
	@PYTHONPATH=lockstep/tests $(BIN)/python -m benchmarks.online --write

.PHONY: bench-blocked
bench-blocked: .venv/installed  ## Change tables behind a transaction that stays open (MINUTES=10), and among others
	@PYTHONPATH=lockstep/tests $(BIN)/python -m benchmarks.blocked --write --minutes $(or $(MINUTES),10)

.PHONY: bench-histories
bench-histories: .venv/installed  ## Run 100 ordinary revisions on an empty database, plain and with Lockstep
	@PYTHONPATH=lockstep/tests $(BIN)/python -m benchmarks.histories

.PHONY: bench-replicas
bench-replicas: .venv/installed  ## Measure what a request costs each server: without replicas, on one, while it is away
	@PYTHONPATH=folkmoot/tests $(BIN)/python -m benchmarks.replicas

.PHONY: bench
bench: .venv/installed  ## Measure, write docs/benchmarks.md; ONLY=shares,… some parts; SHORT=1 see that it runs
	@$(BIN)/python -m benchmarks.serve $(if $(SHORT),--short) $(if $(ONLY),--only $(ONLY))

.PHONY: lock
lock: .venv/installed  ## Pin every dependency anew (needs the network)
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-emit-package alembic-lockstep \
	  --group dev --extra otel lockstep/pyproject.toml folkmoot/pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-emit-package alembic-lockstep \
	  --constraint requirements.lock folkmoot/pyproject.toml -o folkmoot/requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-emit-package alembic-lockstep \
	  --resolution lowest-direct --group floors lockstep/pyproject.toml -o lockstep/floors.lock
