# What a person with nothing but Python 3.11+ and make needs: make demo | test | lint | docs | wheel | clean
#
# On Linux without a GPU, the CPU build of torch saves several GB:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

# The installation compiles the kernels, so a changed C source installs again.
INPUTS := pyproject.toml constraints.txt setup.py $(wildcard src/dance/kernels/*.[ch])
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow test-docs docs lint wheel clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(VENV)/bin/dance condense digits --ipc 1 --config quick --output runs/demo-ipc1
	$(VENV)/bin/dance condense digits --ipc 10 --config quick --output runs/demo-ipc10
	@echo "open file://$(CURDIR)/runs/demo-ipc1/report.html"
	@echo "open file://$(CURDIR)/runs/demo-ipc10/report.html"

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS)

test-slow: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m slow

test-docs: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) -m "slow or not slow" tests/docs

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet
	@echo "open file://$(CURDIR)/build/site/index.html"

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

wheel: $(VENV)/installed-dev
	rm -rf dist
	$(VENV)/bin/python -m build

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/dance/kernels/libkernels-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The two stamps are newer than what they were made from, so a second make installs nothing.
$(VENV)/installed: $(INPUTS) | $(VENV)/bin/pip
	$(VENV)/bin/pip install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(INPUTS) | $(VENV)/bin/pip
	$(VENV)/bin/pip install -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/installed

$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no '$(PYTHON)' here; install Python 3.11 or newer, or say PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed: $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	    "say PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) comes without the venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
