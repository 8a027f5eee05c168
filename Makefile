# Set-up is a stamp: remade when the pins or the project's dependencies change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EVAL_STAMP := $(VENV)/.installed-eval
TRITON := $(VENV)/.triton

.PHONY: help setup quickstart test test-fast test-slow test-slurm test-published test-kernels test-long mutants lint typecheck gallery bench-angles bench-corpus bench-fit bench-head bench-head-gpu bench-store bench-train bench-train-gpu bench-device clean

# Another interpreter, in an environment of its own: make test-fast PYTHON=python3.13 VENV=.venv-3.13
help:
	@echo "make quickstart   set up, run studies/quickstart.py, write reports/quickstart/index.html"
	@echo "make test         set up, run the default test suite"
	@echo "make test-fast    its quick part, which starts no process"
	@echo "make test-slow, test-slurm, test-published    the marked ones (test-slurm starts a real SLURM, as root)"
	@echo "make test-kernels                             the CUDA kernels by Triton's interpreter (installs triton, 290 MB)"
	@echo "make test-long                                storms, simulations, a real teacher's tasks: hours"
	@echo "make mutants                                  which realistic slips the tests notice: hours"
	@echo "make gallery                                  every kind of figure and table"
	@echo "make lint, typecheck                          ruff and import-linter, mypy"
	@echo "make bench-train, bench-head, bench-store, bench-angles, bench-fit, bench-corpus"
	@echo "make bench-head-gpu, bench-train-gpu, bench-device    on a CUDA device; the last prints one JSON object"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pdstudy needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

# lm-eval and what it needs, 600 MB, TensorBoard's reader and a notebook's kernel: for slow tests and downstream tasks.
$(EVAL_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[eval,tensorboard,notebook]'
	@touch $(EVAL_STAMP)

quickstart: setup
	$(BIN)/pdstudy run studies/quickstart.py
	$(BIN)/pdstudy report studies/quickstart.py

# Two at a time: a machine with more cores has other users, and one with fewer takes no longer.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not integration and not slow and not slurm and not gpu and not kernels"

test-slow: setup $(EVAL_STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not slurm and not gpu"

test-slurm: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slurm

# Beside the environment, where only this target sees it: torch for a CPU comes without triton.
$(TRITON)/.installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --target $(TRITON) triton
	@touch $@

# The Triton kernels by Triton's interpreter.
test-kernels: $(TRITON)/.installed
	PYTHONPATH=$(TRITON) TRITON_INTERPRET=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m kernels

test-long: setup $(EVAL_STAMP)
	$(BIN)/python -m tests.slurm.simulation --seeds 5000 --cells 300
	$(BIN)/python -m tests.slurm.simulation --seeds 100 --cells 10000
	$(BIN)/python -m tests.slurm.storm --storms 5 --cells 6 --seed 1
	$(BIN)/python -m tests.slurm.whole
	$(BIN)/python -m tests.analysis.test_isoflop_noise
	$(BIN)/python -m tests.evaluate.smollm

mutants: setup
	$(BIN)/python -m tests.mutants

test-published: setup
	$(BIN)/python -m pytest -m published

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: setup
	$(BIN)/mypy

bench-train bench-head bench-store bench-angles bench-fit bench-corpus bench-head-gpu bench-train-gpu bench-device: bench-%: setup
	$(BIN)/python tests/bench/bench_$(subst -,_,$*).py

# Published tables are read from ../shared/data, where they are kept beside the checkout.
gallery: setup
	$(BIN)/python reports/gallery/draw.py ../shared/data reports/gallery

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
