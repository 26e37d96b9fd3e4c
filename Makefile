# `make demo` and `make test` work on a fresh machine with Python 3.11, a compiler and git.
# On a machine with GPUs install torch for them first, then: make setup CONSTRAINTS=

PYTHON ?= python3.11
VENV ?= .venv
CONSTRAINTS ?= -c constraints.txt
# Number of test files run at a time. Some tests start two processes of their own.
WORKERS ?= 2
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Variables of the environment that has the newest versions setup.py allows.
NEWEST := VENV=.venv-newest CONSTRAINTS='--upgrade --upgrade-strategy eager -c constraints-newest.txt'

.PHONY: setup demo demo-drift test check schema constraints clean

setup: $(VENV)/ready

$(VENV)/ready: setup.py constraints.txt constraints-newest.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@

# Pin the newest versions that setup.py allows. Run `make test` before committing the result.
constraints:
	rm -rf .venv-newest
	$(MAKE) --no-print-directory setup $(NEWEST)
	.venv-newest/bin/pip freeze --all --exclude pip --exclude-editable > .venv-newest/frozen
	{ grep '^#' constraints.txt; sed 's/+cpu$$//' .venv-newest/frozen; } > .venv-newest/constraints
	mv .venv-newest/constraints constraints.txt

# The main job on real text: data, plan, all paradigms on two CPU processes, evaluation, ledger, report.
demo: setup
	@$(MAKE) --no-print-directory run-config NAME=demo SPLIT=iid

# The same with another kind of text in every version.
demo-drift: setup
	@$(MAKE) --no-print-directory run-config NAME=drift SPLIT=drift

.PHONY: run-config
run-config:
	$(BIN)/python tools/corpus.py --split $(SPLIT) --versions 4 --bytes-per-version 240kB --out data/$(NAME)/text
	$(BIN)/lrps data build configs/$(NAME).yaml
	$(BIN)/lrps plan configs/$(NAME).yaml
	$(BIN)/lrps run configs/$(NAME).yaml

test: setup check
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# JSON schemas of config files, which editors complete and check with, and of the documents that lrps writes.
schema: setup
	$(BIN)/python tools/write_schemas.py

clean:
	rm -rf .venv .venv-newest build dist *.egg-info
