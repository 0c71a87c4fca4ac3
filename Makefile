# Everything runs from .venv, which each target makes or updates by itself when that is due.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Files of tests run side by side, the long ones of tests/integration first; one after the other with PARALLEL=
PARALLEL ?= --numprocesses logical --maxprocesses 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo up test chaos fuzz bench lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install everything into .venv, pinned (safe to repeat)

$(STAMP): pyproject.toml client/pyproject.toml requirements.lock requirements-models.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Textmill needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) deploy/install.py $(VENV)
	@touch $@

demo: $(STAMP)  ## real jobs on real text of this machine, from start to results
	@$(BIN)/textmill-server demo

up: $(STAMP)  ## the embedded stack in the foreground; Ctrl-C stops it
	@$(BIN)/textmill-server up

test: $(STAMP)  ## the whole test suite, on real servers and real small models
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

bench: $(STAMP)  ## side-by-side benchmarks; some of them with ONLY="overhead memory"
	@$(BIN)/python -m bench $(ONLY)

chaos: $(STAMP)  ## a million rows while every part is killed again and again; with CHAOS_ARGS="--training 10" a training
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

fuzz: $(STAMP)  ## thousands of calls made up from the OpenAPI document; more with FUZZ_ARGS="--cases 10000"
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

lint: $(STAMP)  ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo

format: $(STAMP)  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## remove .venv, its like and caches; data in .textmill stay
	rm -rf $(VENV) .venv-peers .venv-generator .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
