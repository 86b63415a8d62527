# `make demo` and `make test` set up everything they need; see README.md.
PYTHON ?= python3
# On Linux, for the CPU build of torch instead of the CUDA one:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
DEVICE ?= cpu
SECONDS_EACH ?= 300
JOBS ?= 2
# the tests run side by side, and threads of several processes only get in each other's way
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

VENV := .venv
BIN := $(VENV)/bin
BASE := build/base-env
READY := $(VENV)/.ready
BASE_READY := $(BASE)/.ready
SOURCES := $(shell find sdk verifier producers schemas spec lean -type f -not -path "*/__pycache__/*") README.md CHANGELOG.md LICENSE

.PHONY: demo test lint unit bench fuzz lean lean-mutants lean-record format clean help

help:
	@echo "make demo    certify the two embedded models, verify them in a clean environment, show a refusal"
	@echo "make test    lint, types, import contracts and all tests"
	@echo "make bench   benchmarks, as ratios measured side by side"
	@echo "make fuzz    coverage-guided fuzzing of every reader and of verify, $(SECONDS_EACH) seconds each"
	@echo "make lean    check the Lean library: fetch a build of Lean, check every module, scan axioms, run the examples"
	@echo "make lean-mutants    check that statements which say too much are not proved"
	@echo "make lean-record    both, and the comparison with the Python verifier; write the record that make test wants"

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "BlockCert needs Python 3.11 or newer")'
	@echo "Setting up $(VENV) once: torch and others are downloaded, which takes some minutes and about 2 GB of disk."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[produce]' --group dev
	@touch $@

# what a third party has: the wheel that is built from the sdist, without extras, no torch, no transformers
$(BASE_READY): $(READY) $(SOURCES)
	@mkdir -p build
	rm -rf build/dist
	$(BIN)/python -m build --outdir build/dist . > build/dist.log 2>&1 || (cat build/dist.log; exit 1)
	test -d $(BASE) || $(PYTHON) -m venv $(BASE)
	$(BASE)/bin/pip install --quiet build/dist/*.whl
	$(BASE)/bin/pip install --quiet --force-reinstall --no-deps build/dist/*.whl
	@touch $@

demo: $(READY) $(BASE_READY)
	@$(BIN)/blockcert demo --out build/demo --device $(DEVICE) --verifier $(BASE)/bin/python

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

unit: $(READY) $(BASE_READY)
	$(ONE_THREAD) $(BIN)/pytest -n $(JOBS) --dist worksteal

test: lint unit

bench: $(READY) $(BASE_READY)
	$(BIN)/python -m tests.benchmarks

fuzz: $(READY)
	$(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS_EACH)

# check.sh tells a library that fails (1) from a machine that cannot check it (2); make's own status is 2 for both
lean:
	PYTHON="$(PYTHON)" sh lean/check.sh

lean-mutants:
	PYTHON="$(PYTHON)" sh lean/check.sh --mutants

# everything that needs Lean, and the record of it that `make test` holds against the sources
lean-record: $(READY)
	@mkdir -p build/lean
	@rm -rf build/lean/checked.json build/lean/parity.json build/lean/corpus
	PYTHON="$(PYTHON)" sh lean/check.sh --record build/lean/checked.json
	$(BIN)/blockcert conformance build --out build/lean/corpus
	BLOCKCERT_CONFORMANCE=build/lean/corpus BLOCKCERT_LEAN_PARITY=build/lean/parity.json $(BIN)/pytest -q tests/lean/test_parity.py
	$(BIN)/python -B lean/checks/record.py build/lean/checked.json build/lean/parity.json
	$(BIN)/pytest -q tests/lean/test_library.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build $(VENV)
