# `make demo` and `make test` work on a fresh machine with Python 3.11, a compiler and git.
# On a machine with GPUs install torch for them first, then: make setup CONSTRAINTS=

PYTHON ?= python3.11
VENV ?= .venv
CONSTRAINTS ?= -c constraints.txt
# Number of test files run at a time. Some tests start two processes of their own.
WORKERS ?= 2
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
TESTS ?= -m 'not long'
# Packages of the docs site, the extra `docs`.
DOCS := 'mkdocs-material>=9.5'
# Variables of the environment that has the newest versions setup.py allows.
NEWEST := VENV=.venv-newest CONSTRAINTS='--upgrade --upgrade-strategy eager -c constraints-newest.txt'

.PHONY: setup runtime demo demo-drift test test-long test-newest test-wheel check schema docs site constraints clean

setup: $(VENV)/ready
# What training, plans and reports need, without the packages of the checks.
runtime: $(VENV)/runtime

$(VENV)/runtime: setup.py constraints.txt constraints-newest.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) --upgrade pip
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e .
	touch $@

$(VENV)/ready: $(VENV)/runtime
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[dev]'
	touch $@

# Pin the newest versions that setup.py allows. Run `make test` before committing the result.
constraints:
	rm -rf .venv-newest
	$(MAKE) --no-print-directory setup $(NEWEST)
	.venv-newest/bin/pip freeze --all --exclude-editable > .venv-newest/frozen
	{ grep '^#' constraints.txt; sed 's/+cpu$$//' .venv-newest/frozen; } > .venv-newest/constraints
	mv .venv-newest/constraints constraints.txt

# The main job on real text: data, plan, all paradigms on two CPU processes, evaluation, ledger, report.
demo: runtime
	$(BIN)/lrps demo

# The same with another era of the addresses in every version.
demo-drift: runtime
	$(BIN)/lrps demo --drift

# Every check but the long tests.
test: setup check run-tests

# Long sweeps, kills and faults, which `make test` leaves out. Ends at the first failure, which no time limit then hides.
test-long: setup
	@$(MAKE) --no-print-directory run-tests TESTS='-x -m long'

# The checks that depend most on other packages, with the newest versions that setup.py allows; new examples of laws.
test-newest:
	@echo "make test-newest leaves out tests/e2e and the tests marked slow or long"
	rm -f .venv-newest/runtime .venv-newest/ready
	@$(MAKE) --no-print-directory setup $(NEWEST)
	@$(MAKE) --no-print-directory --keep-going check run-tests $(NEWEST) \
	  TESTS="--hypothesis-profile=new-examples --ignore=tests/e2e -m 'not slow and not long'"

# The wheel in a fresh environment of every Python of WHEEL_PYTHONS (by default that of .venv): text to a report.
test-wheel: setup
	$(BIN)/python -m pytest tests/test_wheel.py

# In the order of tests/conftest.py: pytest-xdist itself would start the files with the fewest tests last, which are slow.
.PHONY: run-tests
run-tests: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 $(TESTS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# JSON schemas of config files, which editors complete and check with, and of the documents that lrps writes.
schema: setup
	$(BIN)/python tools/write_schemas.py
	$(BIN)/python tools/config_page.py

# The tables of files in docs/architecture.md, from the docstrings of the modules.
docs: setup
	$(BIN)/python tools/architecture.py

# The docs site, in build/site; broken links are errors. Left out where its packages cannot be installed.
site: $(VENV)/ready
	@if $(BIN)/python -m pip install --quiet $(CONSTRAINTS) $(DOCS); then NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet; \
	else echo "left out: the docs site, because $(DOCS) cannot be installed"; fi

clean:
	rm -rf .venv .venv-newest build dist *.egg-info
