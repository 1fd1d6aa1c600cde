# make setup | check | test | demo: each does its own set-up in .venv.
# TORCH is installed first, so that nothing else pulls another build. With a GPU: make demo TORCH=torch
PYTHON ?= python3
TORCH  ?= torch==2.13.0
BIN    := .venv/bin

.PHONY: setup check test test-all fuzz demo clean

setup: .venv/ready

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

check: setup
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy

# one OpenMP thread a process: the maps of the tests are small, and the processes share the cores
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -m "not slow and not gpu"

test-all: setup
	$(BIN)/python -m pytest

# make fuzz SECONDS=3600 SEED=7: mutated files through the decoder and every parser
SECONDS ?= 60
SEED    ?= 0
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

demo: setup
	$(BIN)/auscult demo

clean:
	rm -rf .venv build dist demo results .mypy_cache .ruff_cache .pytest_cache
