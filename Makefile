# Hookline: run it, test it, measure it. Everything goes into .venv in this directory;
# only `make test` may add Debian packages (tests/debian-packages.txt), and only as root or with passwordless sudo.
SHELL := /bin/bash
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

# 3.11 comes first: PJSIP's wheel, one of the phones of the interop tests, is made for it alone. And before what a version
# manager has compiled comes the distribution's own, which is built with more care: SIP runs a fifth faster on Debian's.
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in /usr/bin/python3.11 python3.11 /usr/bin/python3 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null && $$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The bench runs the exchange on PyPy, too, where there is one; nothing else needs it.
PYPY ?= $(shell command -v pypy3 >/dev/null && pypy3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && command -v pypy3)
PYPY_BIN := .venv-pypy/bin

.PHONY: help run test lint bench simulate packages clean

help:
	@echo "make run    start the exchange with its CRM and panel (ARGS='-c hookline.toml')"
	@echo "make test   lint, types, import arrows and every test (TESTS='tests/unit' for some)"
	@echo "make lint   ruff, mypy --strict, lint-imports"
	@echo "make bench  measure set-up, best rates, relay and parser, on PyPy, too, if there is a pypy3; writes"
	@echo "            bench/RESULTS.md (about 35 minutes, with PyPy 90)"
	@echo "make simulate   play SEEDS=10000 offices from seed FIRST=1 in virtual time, on PROCESSES=2 cores"
	@echo "PYTHON=python3.12 picks the interpreter of a new .venv"

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Hookline needs Python 3.11, 3.12 or 3.13 with its venv module (Debian: apt install python3-venv)." >&2; exit 1; fi
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	@touch $@

.venv/.test: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[test]'
	@touch .venv/.run $@

# Never an error: without it there is less to measure. pip is the other environment's, so that this one needs none.
.venv-pypy/.run: pyproject.toml | .venv/.test
	@if [ ! -x $(PYPY_BIN)/python ] && [ -z "$(PYPY)" ]; then \
		echo "No pypy3 of Python 3.11 or newer on the path: the bench measures Hookline on CPython alone."; \
	elif { [ -x $(PYPY_BIN)/python ] || "$(PYPY)" -m venv --without-pip .venv-pypy; } \
		&& $(PIP) --python $(PYPY_BIN)/python install -e .; then touch $@; \
	else \
		rm -rf .venv-pypy; \
		echo "Hookline's packages could not be installed for PyPy (a C compiler and PyPy's headers are needed;"; \
		echo "Debian: apt install gcc pypy3-dev): the bench measures it on CPython alone."; \
	fi

run: .venv/.run
	@exec $(BIN)/hookline serve $(ARGS)

packages:
	@tests/install-debian-packages.sh tests/debian-packages.txt

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/mypy --strict -p pbxcore -p crmhooks -p web -p bench -p tests.scenario.simulator
	$(BIN)/lint-imports

test: packages lint
	@$(BIN)/python -m tests $(TESTS)

bench: .venv/.test .venv-pypy/.run
	$(BIN)/python -m bench report

SEEDS ?= 10000
FIRST ?= 1
PROCESSES ?= 2
simulate: .venv/.test
	nice -n 19 $(BIN)/python -m tests.scenario --seeds $(SEEDS) --first $(FIRST) --processes $(PROCESSES)

clean:
	rm -rf .venv .venv-pypy build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
