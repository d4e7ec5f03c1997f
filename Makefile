PYTHON ?= python3
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup demo test test-all lint format type rules docs bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## Build .venv with everything that development needs

demo: $(VENV)/.runtime ## Attack a digit classifier, harden it, attack it again, write runs/demo/report.html
	$(BIN)/blindspots demo

# One thread per process: the processes already fill the cores.
test test-all lint type rules docs bench: export OMP_NUM_THREADS := 1

test: $(VENV)/.dev ## Run the tests, without the slow ones
	$(BIN)/pytest -n $(JOBS) -m "not slow"

test-all: $(VENV)/.dev ## Run all tests
	$(BIN)/pytest -n $(JOBS)

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.dev ## Mend style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

type: $(VENV)/.dev ## Check types
	$(BIN)/mypy

rules: $(VENV)/.dev ## Check that imports run one way
	$(BIN)/lint-imports

# Afresh every time: what was built before would neither warn again nor vanish with its name.
docs: $(VENV)/.docs ## Build docs/ with the API reference into docs/_build/html
	rm -rf docs/_build docs/reference
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html

bench: $(VENV)/.bench ## Measure side by side with other attack libraries
	$(BIN)/python -m benchmarks

clean: ## Delete caches and build outputs; .venv and runs/ stay
	rm -rf build dist docs/_build docs/reference src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last: an interrupted installation is taken up again, a finished one costs nothing.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, got " + sys.version.split()[0] + ": run make PYTHON=/path/to/a/newer/python")'
	@echo "Setting up $(VENV): about a minute, once"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@$(INSTALL) --editable '.[docs]'
	@touch $@

# torchattacks goes in without its own pins, which would replace torch.
$(VENV)/.bench: $(VENV)/.runtime
	@$(INSTALL) --editable '.[bench]'
	@$(INSTALL) --no-deps torchattacks
	@touch $@
