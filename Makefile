# make demo     from nothing to a report on generated videos
# make weights  downloads what the config's `weights` name: LPIPS and FVD need them
# make test     the tests
# make soak     the long tests: runs that are killed again and again
# make docs-test  runs each command of README and docs, on small videos
# make test-slurm  the tiny pipeline through a SLURM of its own; needs root and Debian's packages
# make why      what would run, and why
# make orphans  lists results that no row of the config needs
# Another config for all but the demo: CONFIG=FILE; other flags for snakemake: ARGS='--cores 4'
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= config.yaml
BIN := $(VENV)/bin
FLAGS = --configfile '$(CONFIG)' $(ARGS)

.PHONY: demo check-demo weights test docs-test soak test-slurm why orphans lint environment

demo: environment
	$(BIN)/snakemake $(ARGS)
	@echo "The report: $(CURDIR)/results/report/report.html"

# Do the demo's numbers hold what the README says of them?
check-demo: environment
	$(BIN)/python benchmarks/check_demo.py results

# The only command that downloads anything but packages. To use another config: CONFIG=FILE
weights: environment
	$(BIN)/python -m rsvp.commands.weights --config '$(CONFIG)'

test: environment
	$(BIN)/python -m pytest

docs-test: environment
	$(BIN)/python -m pytest -m docs -n 0 tests/workflow/test_told_commands.py

# Twenty kills at random moments, in each of two runs; takes about twenty minutes.
soak: environment
	$(BIN)/python -m pytest -m soak -n 0 -s

# Packages are unpacked into a scratch folder, and daemons stopped at the end; about ten minutes.
test-slurm: environment
	$(BIN)/python -m pytest -m slurm -n 0 tests/slurm

why: environment
	@PYTHONPATH=. $(BIN)/python workflow/why.py $(FLAGS)

orphans: environment
	@PYTHONPATH=. $(BIN)/python workflow/orphans.py $(FLAGS)

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
