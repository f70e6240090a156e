# Each target makes .venv first if it is absent, or older than pyproject.toml.
# A certain Python: make demo PYTHON=python3.12 (3.11 or newer). It is an error if it is not there, or if
# .venv was made with another one.

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
ifdef PYTHON
PYTHONS := "$(PYTHON)"
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
ASKED := $(shell "$(PYTHON)" -c '$(VERSION)' 2>/dev/null)
HELD := $(shell .venv/bin/python -c '$(VERSION)' 2>/dev/null)
ifeq ($(ASKED),)
$(error PYTHON=$(PYTHON) cannot be run: install it, or name another)
endif
ifneq ($(HELD),)
ifneq ($(HELD),$(ASKED))
$(error .venv has Python $(HELD), and PYTHON=$(PYTHON) is $(ASKED): remove .venv first)
endif
endif
endif
BIN := .venv/bin
EXTRAS_core :=
EXTRAS_labs := [labs]
EXTRAS_book := [book]
EXTRAS_tests := [tests]
# What each installation holds besides.
HOLDS_labs := core
HOLDS_book := core
HOLDS_tests := core labs book

.PHONY: help demo lab book test lint coverage versions cpu install dist clean
.NOTPARALLEL:

help:
	@echo "make demo    draw scenes, train a captioner on them, see where it looks (about 6 minutes)"
	@echo "make lab     open the labs in JupyterLab"
	@echo "make book    build the book's pages"
	@echo "make test    run all tests and all labs"
	@echo "make lint    check the style of the code, and its types"
	@echo "make coverage   run the tests, and list the lines of labkit that none reaches"
	@echo "make versions   run a part of the tests with the oldest libraries allowed, and the newest"
	@echo "make install install all that the other targets need, and run nothing"
	@echo "make cpu     before any of them: make .venv with PyTorch for processors only, which is smaller"
	@echo "make dist    build the files of a release, and check them"
	@echo "make clean   remove what the other targets made, .venv too"

demo: .venv/.installed-core
	$(BIN)/labkit demo

lab: .venv/.installed-labs
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/labs

book: .venv/.installed-book
	rm -rf _build
	$(BIN)/python book/prepare.py
	$(BIN)/jupyter-book build -W -n --keep-going .
	@echo "The book is here: _build/html/index.html"

# Three test files at a time, one thread each: some wait for a browser or for other processes, and two
# cores stay busy. A file's tests stay together, for they share what they made.
# Files begin in the order of tests/conftest.py, the long ones first.
test: .venv/.installed-tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 12 -rs tests labs

lint: .venv/.installed-tests
	$(BIN)/ruff check .
	$(BIN)/mypy

# Without labs and the book, which run labkit but check other things. The processes that tests start
# are measured, too. The floor is in pyproject.toml.
coverage: .venv/.installed-tests
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore tests/book tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

versions:
	tests/versions.sh lowest
	tests/versions.sh newest

install: .venv/.installed-tests

# PyTorch's own index: on Linux, PyPI's builds bring the GPU libraries. Both packages in one command.
cpu: .venv/bin/python
	$(BIN)/python -m pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision

dist: .venv/bin/python
	$(BIN)/python -m pip install "build>=1.2" "twine>=6.1"
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv _build build dist *.egg-info demo book/_static/tell
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-%: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --editable ".$(EXTRAS_$*)"
	touch $(foreach what,$* $(HOLDS_$*),.venv/.installed-$(what))

.venv/bin/python:
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making .venv with $$("$$python" --version)"; \
	    "$$python" -m venv --clear .venv && exit 0; \
	    rm -rf .venv; \
	    exit 1; \
	  fi; \
	done; \
	echo "labkit needs Python 3.11 or newer: install it, or name it as in make demo PYTHON=..." >&2; \
	exit 1
