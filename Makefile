# Python 3.11 or later and its pip are all that these commands need; each does its own set-up, once.
# Every path is relative and quoted: the checkout may lie on a path with spaces.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo dev test faults check format bench clean FORCE

# The first Python that is recent enough and can make a virtual environment; `make PYTHON=/path/to/python3` is another.
CAN_MAKE_VENVS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for each in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$each" -c '$(CAN_MAKE_VENVS)' >/dev/null 2>&1 && echo "$$each" && break; done)
endif

# Tests run on as many processes as the smallest machine we build on has cores.
JOBS ?= 2
RUN := .venv/bin/python

# A virtual environment knows its own place: one that was moved or copied here, or has lost its Python, is made anew.
SOUND := $(shell [ "$$(cat .venv/place 2>/dev/null)" = "$$(pwd -P)" ] && $(RUN) -c '' 2>/dev/null && echo yes)

help:
	@echo "make demo    start three nodes, let orders go through five departments, and check the books"
	@echo "make dev     start three nodes and keep them running (Ctrl-C stops them)"
	@echo "make test    every test, on a real PostgreSQL"
	@echo "make faults  real nodes killed, frozen, cut off and wiped, over and over; make faults SCHEDULES=20 SEED=7"
	@echo "make check   format, lint, types, imports, tidiness"
	@echo "make bench   the product beside its peers, as ratios; make bench BENCH=\"bulk http\" for some of the cases"
	@echo "make format  let the formatter and the linter mend what they can"
	@echo "make clean   remove what these commands made"

demo: .venv/installed
	@.venv/bin/peaceriver demo

dev: .venv/installed
	@.venv/bin/peaceriver up

test: .venv/installed-dev
	@$(RUN) -m pytest -n $(JOBS) --dist worksteal $(PYTEST)

# Real faults on real nodes, then the long forms of tests: minutes to an hour. A failed schedule says where its history
# and its logs are kept.
SCHEDULES ?= 200
faults: .venv/installed-dev
	@$(RUN) -m tests.faults --schedules $(SCHEDULES) $(if $(SEED),--seed $(SEED)) --directed all --mutants all
	@$(RUN) -m pytest -m long $(PYTEST)

bench: .venv/installed-bench
	@$(RUN) -m bench $(BENCH)

check: .venv/installed-dev
	@echo "format" && .venv/bin/ruff format --check --quiet .
	@echo "lint" && .venv/bin/ruff check --quiet .
	@echo "types" && $(RUN) -m mypy --no-error-summary src $(wildcard tests/typing/*.py)
	@echo "imports" && .venv/bin/lint-imports --no-cache --no-logo >.venv/imports 2>&1 || { cat .venv/imports; exit 1; }
	@echo "tidiness" && $(RUN) -m pytest --quiet --no-header --no-summary -p no:randomly tests/test_tidy.py

format: .venv/installed-dev
	@.venv/bin/ruff format --quiet .
	@.venv/bin/ruff check --quiet --fix .

clean:
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The set-up. The files under .venv are stamps: they are older than pyproject.toml exactly when it has changed.
ifneq ($(SOUND),yes)
.venv/place: FORCE
endif
.venv/place:
	@"$(PYTHON)" -c '$(CAN_MAKE_VENVS)' 2>/dev/null || { \
		echo "Python 3.11 or later with its venv module is needed, and $(if $(PYTHON),$(PYTHON) is not,none was found)." \
			"Install it (on Debian and Ubuntu: apt install python3-venv)," \
			"or name another one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "set-up: making .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear .venv
	@pwd -P >.venv/place

.venv/installed: .venv/place pyproject.toml
	@echo "set-up: installing Peace River and what it needs"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable .
	@touch .venv/installed

.venv/installed-dev: .venv/place pyproject.toml
	@echo "set-up: installing Peace River, what it needs, and what its tests need"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch .venv/installed .venv/installed-dev

.venv/installed-bench: .venv/place pyproject.toml
	@echo "set-up: installing Peace River, what it needs, and what it is measured against"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	@touch .venv/installed .venv/installed-bench
