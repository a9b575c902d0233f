# make demo   from nothing to a report on generated videos
# make test   the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo check-demo test lint environment

demo: environment
	$(BIN)/snakemake
	@echo "The report: $(CURDIR)/results/report/report.html"

# Do the demo's numbers hold what the README says of them?
check-demo: environment
	$(BIN)/python benchmarks/check_demo.py results

test: environment
	$(BIN)/python -m pytest

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

environment: $(VENV)/made

# Made again when what it holds changes.
$(VENV)/made: pyproject.toml envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rsvp needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint envs/constraints.txt --editable '.[dev]'
	@touch $@
