# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests use both cores of a small machine; a bigger one may say JOBS=8.
JOBS   ?= 2

.PHONY: demo test netlist formal lint types docs bench fpga clean setup help

help:
	@echo "make demo    set up, then mirror a database, cut the links and open the far copy"
	@echo "make test    set up, then run all tests"
	@echo "make netlist play scenarios on what synthesis makes of the gateware"
	@echo "make fpga    set up, then add what farside build needs (place and route)"
	@echo "make formal  prove the formal properties, all of them"
	@echo "make lint    ruff and mypy"
	@echo "make docs    regenerate what the documentation shows"
	@echo "make bench   measure speed, link efficiency and disconnect times"
	@echo "make clean   remove everything the other targets made"

setup: $(STAMP)

# A missing system tool is named with its Debian package before anything else happens.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or newer is needed as $(PYTHON) (Debian package python3)" >&2; exit 5; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: the venv module is missing (Debian package python3-venv)" >&2; exit 5; }
	@command -v perl >/dev/null || { echo "error: perl is missing (Debian package perl)" >&2; exit 5; }
	@command -v g++ >/dev/null || command -v clang++ >/dev/null || \
	  { echo "error: no C++ compiler (Debian package g++)" >&2; exit 5; }
	@echo "Setting up $(VENV) (about half a minute)"
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
	  --editable '.[test,formal,lint]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/farside demo

# --claims=FILE in one word: of a file that is there already, pytest would take a word of its own for
# a test, and not find the option.
test: $(STAMP)
	@mkdir -p build
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --claims=build/claims.md
	@$(BIN)/python docs/generate.py --check build/claims.md

netlist: $(STAMP)
	@$(BIN)/python -m pytest -m netlist -n $(JOBS) --dist worksteal tests/gateware

fpga: $(STAMP)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
	  --editable '.[fpga]'
	@echo "farside build and farside flash are ready"

formal: $(STAMP)
	@$(BIN)/python -m tests.formal.runner --jobs $(JOBS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

docs: $(STAMP)
	@mkdir -p build
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --claims=docs/claims.md
	@$(BIN)/python docs/reliability.py
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/picture.py
	@$(BIN)/python docs/generate.py --record

bench: $(STAMP)
	@$(BIN)/farside bench

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
