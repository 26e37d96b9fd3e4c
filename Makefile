# `make demo` and `make test` work on a fresh machine with Python 3.11, a compiler and git.
# On a machine with GPUs install torch for them first, then: make setup CONSTRAINTS=

PYTHON ?= python3.11
CONSTRAINTS ?= -c constraints.txt
# Files of tests at a time. Some start two processes of their own.
WORKERS ?= 2
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo demo-drift test check schema clean

setup: .venv/ready

.venv/ready: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@

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

# What editors complete and check config files with.
schema: setup
	$(BIN)/python -c "import json; from lrps.config.models import Config; \
	print(json.dumps(Config.model_json_schema(), indent=1))" > configs/schema.json

clean:
	rm -rf .venv build dist *.egg-info
