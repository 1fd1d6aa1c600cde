# make setup | check | test | demo: each does its own set-up in .venv.
# TORCH is installed first, so that nothing else pulls another build. With a GPU: make demo TORCH=torch
# make setup LOCKED=1: what CI has, the versions and hashes of requirements/ci.txt (Python 3.11); see docs/supply_chain.md
PYTHON ?= python3
TORCH  ?= torch==2.13.0
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
LOCK   := requirements/ci.txt

.PHONY: setup check test test-all fuzz lock audit licences sbom demo clean

setup: .venv/ready

.venv/ready: pyproject.toml $(if $(LOCKED),$(LOCK))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifdef LOCKED
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info[:2] != (3, 11) and '$(LOCK) is for Python 3.11: make setup LOCKED=1 PYTHON=python3.11')"
	$(PIP) install --quiet --require-hashes --no-deps --only-binary :all: -r $(LOCK)
	$(PIP) install --quiet --no-deps "$(TORCH)"
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	$(PIP) check
else
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet -e ".[dev]"
endif
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

# the lock anew, with the hashes of every file of every release; pip must find the CPU build of torch
lock: setup
	echo "$(TORCH)" > .venv/torch.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes --extra dev \
	  --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links \
	  --unsafe-package torch --unsafe-package auscult --constraint .venv/torch.txt -o $(LOCK) pyproject.toml

# asks the advisory service for every locked package; --strict: one that it does not know is a failure, not a pass
audit: setup
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $(LOCK)
	echo "$(TORCH)" > .venv/torch.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement .venv/torch.txt

licences: setup
	$(BIN)/python -m tests.licences

sbom: setup
	$(BIN)/python -m tests.sbom --out build/auscult.cdx.json

demo: setup
	$(BIN)/auscult demo

clean:
	rm -rf .venv build dist demo results .mypy_cache .ruff_cache .pytest_cache
