# Two commands on a fresh machine: `make test` and `make bench`. Each makes the environment it needs first.
#
#   make env      a virtual environment in .venv with all that is needed, at the versions in constraints.txt
#   make build    the compiled operator, in place
#   make test     the whole of suites/
#   make bench    correctness gate, benchmarks, tables, report (QUICK=1: the same, small and fast)
#   make report   tables and report again, from results/**/*.json alone
#   make docs     the documentation as a site that needs no network, in build/site; a warning is an error
#   make merge    several runners' archives as one folder of results with its report, in build/merged; who left none is
#                 named (ARCHIVES=build/archives, EXPECTED="h100 h200")
#   make peers    the libraries that only the matrix of all libraries asks, beside torch and in .venv-peers
#                 (PEERS="paddle tvm": these)
#   make check    formatting (C++ too), lint, types, and the workflows of CI by actionlint and zizmor
#   make sanitize the CPU kernels under the address, undefined-behaviour and thread sanitizers, the CUDA kernels under
#                 compute-sanitizer where there is a GPU (CASES=1000 SEED=1: more cases of each operator, other ones)
#   make wheel    the package as a wheel, in dist/
#   make arm-tools the compiler and the emulator with which the kernels are tested on Arm (Debian, Ubuntu; sudo)
#   make wheels   what a release has: the wheel of this processor in a manylinux_2_28 image (Docker), and the sdist
#   make gpu      on a machine with a GPU, with its own Python and no network: what it lacks, build, tests, sanitizer,
#                 benchmarks, one archive of it all; step by step gpu-build, gpu-smoke, gpu-test, gpu-test-deterministic,
#                 gpu-test-meta, gpu-sanitize (or gpu-memcheck ...), gpu-bench, gpu-archive

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK ?=
CASES ?=
SEED ?=
ARCHIVES ?= build/archives
EXPECTED ?=
PEERS ?=
GPU_PYTHON ?= python3
GPU_STEPS := gpu-build gpu-smoke gpu-test gpu-test-deterministic gpu-test-meta gpu-sanitize gpu-bench gpu-archive
SANITIZERS := gpu-memcheck gpu-racecheck gpu-initcheck gpu-synccheck
GPU_STEPS += $(SANITIZERS) $(SANITIZERS:%=%-deterministic)

.PHONY: env build test bench report docs merge peers check sanitize wheel wheels arm-tools gpu $(GPU_STEPS) clean
.DELETE_ON_ERROR:

env: $(VENV)/.ready

$(VENV)/.ready: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision \
		--group build --group test --group bench --group check --group docs
	touch $@

# The build sees the environment's own torch: no isolation, no second torch.
SOURCES := setup.py $(wildcard impl/csrc/*/*.* impl/csrc/*/*/*.*)

build: $(VENV)/.built

$(VENV)/.built: $(VENV)/.ready $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# A process for each core, at most eight: each holds PyTorch and TensorFlow. They start on a part of the suites each, in
# its order, so that what one test has made for the next is still there. Each has as many threads as it would have alone;
# those that wait for work sleep, instead of taking a core from the other processes.
test: build
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest suites/ --numprocesses auto --maxprocesses 8 --dist worksteal

bench: build
	$(BIN)/python -m harness bench $(if $(QUICK),--quick)

report: build
	$(BIN)/python -m harness report

# The variable silences an advertisement that Material for MkDocs prints. docstrings are read, not imported.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file site/mkdocs.yml

# No operator has a part in it: the environment is enough.
merge: env
	$(BIN)/python -m harness merge "$(ARCHIVES)" $(if $(EXPECTED),--expect "$(EXPECTED)")

# 3 GB, and a compiler for one of them. What is here already is left as it is.
peers: env
	$(BIN)/python -m harness peers $(PEERS)

CPP = $(shell find impl/csrc harness suites -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name '*.cu')

check: build
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --strict-collection --persona pedantic .github

sanitize: build
	$(BIN)/python -m harness sanitize $(if $(CASES),--cases $(CASES)) $(if $(SEED),--seed $(SEED))

wheel: env
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# Its own environment: a release needs nothing of what tests need. What it does stands in pyproject.toml.
wheels:
	$(PYTHON) -m venv build/releasing
	build/releasing/bin/python -m pip install --quiet build cibuildwheel==4.3.5
	ROI_ALIGN_CUDA=0 build/releasing/bin/python -m build --sdist --outdir dist
	build/releasing/bin/python -m cibuildwheel --platform linux --output-dir dist

arm-tools:
	sudo apt-get update --quiet
	sudo apt-get install --quiet --yes g++-aarch64-linux-gnu qemu-user-static

# No environment is made here: a GPU machine has its torch already, often no network, and perhaps nothing else.
gpu:
	$(GPU_PYTHON) -m harness.machines

$(GPU_STEPS): gpu-%:
	$(GPU_PYTHON) -m harness.machines $*

clean:
	rm -rf build dist impl/*.egg-info impl/roi_align/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
