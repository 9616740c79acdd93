# make demo    run the demonstration
# make test    every check: lint, types, import rules, tests with branch coverage
# make fuzz    property tests and attacks, on many more objects and files than `make test` looks at
# make zoo     every architecture of the gallery run by its program, with a table of what is right; some minutes
# make lint    the checks that run no test
# make format  let ruff repair what it can
# make bench   the benchmarks
# make clean   remove what the tools made, the environment included
#
# Each builds .venv first where it is missing, or older than what it was made from.

PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
MADE_FROM := pyproject.toml constraints.txt src/torchkeep/_version.py

.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.PHONY: demo test fuzz zoo lint format bench clean

demo: .venv/.demo
	$(BIN)/python demo/two_ways.py

# Each worker of pytest is a process: more threads in each than one would only make them wait for each other.
test: lint
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term

fuzz: .venv/.dev
	HYPOTHESIS_PROFILE=fuzz OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) tests/property tests/attacks
	$(BIN)/python tests/attacks/ops_fuzz.py --seconds 1800 --workers $(WORKERS) --fence

zoo: .venv/.dev
	HF_HUB_OFFLINE=1 PYTHONPATH=tests/interop $(BIN)/python -W ignore -m gallery.programs

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev
	$(BIN)/python bench/run.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f .coverage .coverage.*
	find src tests demo bench -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stages, so that the demonstration need not wait for the tools. torch comes first and by itself: a CPU
# build that pip finds on disk is then the one that everything after it builds on.
.venv/.demo: $(MADE_FROM)
	@command -v $(PYTHON) >/dev/null || { echo "torchkeep needs Python 3.10 or newer, and there is no '$(PYTHON)' here. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "torchkeep needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Building .venv (torch first; a minute or more the first time)"
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[torch,demo]'
	@touch $@

.venv/.dev: .venv/.demo
	$(PIP) -e '.[torch,dev]'
	@touch $@
