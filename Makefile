# Two commands on a fresh machine: `make test` and `make bench`. Each first creates the environment that it needs.
#
#   make env      a virtual environment in .venv with all dependencies, at the versions in constraints.txt
#   make build    the compiled operator, in place
#   make test     the whole of suites/
#   make bench    correctness gate, benchmarks, tables, report (QUICK=1: the same, small and fast)
#   make report   tables and report again, from results/**/*.json alone
#   make docs     the documentation as a site that needs no network, in build/site; a warning is an error
#   make merge    several runners' archives as one folder of results with its report, in build/merged; it names the
#                 runners without an archive (ARCHIVES=build/archives, EXPECTED="h100 h200")
#   make peers    the libraries that only the matrix of all libraries needs, beside torch and in .venv-peers
#                 (PEERS="paddle tvm": these)
#   make check    formatting (C++ too), lint, types, and the workflows of CI by actionlint and zizmor
#   make sanitize the CPU kernels under the address, undefined-behaviour and thread sanitizers, the CUDA kernels under
#                 compute-sanitizer where there is a GPU (CASES=1000 SEED=1: more cases of each operator, other ones)
#   make wheel    the package as a wheel, in dist/
#   make trial    the wheel as users have it: in an environment of its own with the newest torch, suites/correctness
#                 (TORCH=2.10.0: another torch; PYTHON=python3.10: another Python, for that environment alone)
#   make arm-tools the compiler and the emulator with which the kernels are tested on Arm (Debian, Ubuntu; sudo)
#   make wheels   the files of a release: the wheel of this processor, in a manylinux_2_28 image (Docker), and the sdist
#   make gpu      on a machine with a GPU, with its own Python and no network: a list of missing tools, build, tests,
#                 sanitizer, benchmarks, one archive; in steps gpu-build, gpu-smoke, gpu-test, gpu-test-deterministic,
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
TORCH ?=
GPU_PYTHON ?= python3
GPU_STEPS := gpu-build gpu-smoke gpu-test gpu-test-deterministic gpu-test-meta gpu-sanitize gpu-bench gpu-archive
SANITIZERS := gpu-memcheck gpu-racecheck gpu-initcheck gpu-synccheck
GPU_STEPS += $(SANITIZERS) $(SANITIZERS:%=%-deterministic)

.PHONY: env build test bench report docs merge peers check sanitize wheel wheels trial arm-tools gpu $(GPU_STEPS) clean
.DELETE_ON_ERROR:

env: $(VENV)/.ready

$(VENV)/.ready: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision \
		--group build --group test --group bench --group check --group docs
	touch $@

# The build uses the environment's torch: no isolation, no second torch.
SOURCES := setup.py $(wildcard impl/csrc/*/*.* impl/csrc/*/*/*.*)

build: $(VENV)/.built

$(VENV)/.built: $(VENV)/.ready $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# A process for each core, at most eight, because each loads PyTorch and TensorFlow. Each starts on its own part of the
# suites, in their order, so that a test can reuse the builds of the test before it. A process has as many threads as it
# would have alone; OMP_WAIT_POLICY makes idle threads sleep instead of taking a core from the other processes.
test: build
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest suites/ --numprocesses auto --maxprocesses 8 --dist worksteal

bench: build
	$(BIN)/python -m harness bench $(if $(QUICK),--quick)

report: build
	$(BIN)/python -m harness report

# Not --quiet: it drops the warnings before --strict counts them. The variable silences an advertisement of Material for
# MkDocs. Docstrings are read without importing the package.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file site/mkdocs.yml

# Merging calls no operator: the environment is enough.
merge: env
	$(BIN)/python -m harness merge "$(ARCHIVES)" $(if $(EXPECTED),--expect "$(EXPECTED)")

# 3 GB, and one library needs a compiler. Libraries that are installed already stay as they are.
peers: env
	$(BIN)/python -m harness peers $(PEERS)

CPP = $(shell find impl/csrc harness suites -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name '*.cu')

check: build
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy conftest.py
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --strict-collection --persona pedantic .github

sanitize: build
	$(BIN)/python -m harness sanitize $(if $(CASES),--cases $(CASES)) $(if $(SEED),--seed $(SEED))

wheel: env
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# The wheel is built beside .venv's torch and tested beside another one. torchvision 0.25 belongs to torch 2.10; without
# that limit pip would install a torchvision too old to require a torch, for a torch that has no torchvision yet.
TRIAL = build/trial/torch-$(or $(TORCH),newest)

trial: env
	rm -rf $(TRIAL)
	ROI_ALIGN_CUDA=0 $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir $(TRIAL) .
	$(PYTHON) -m venv $(TRIAL)/venv
	$(TRIAL)/venv/bin/python -m pip install --quiet --upgrade pip
	$(TRIAL)/venv/bin/python -m pip install --quiet torch$(TORCH:%===%) "torchvision>=0.25" $(TRIAL)/*.whl --group trial
	OMP_WAIT_POLICY=PASSIVE $(TRIAL)/venv/bin/python -m pytest suites/correctness \
		--numprocesses auto --maxprocesses 8 --dist worksteal

# A separate environment, because a release needs no tests. pyproject.toml configures cibuildwheel.
wheels:
	$(PYTHON) -m venv build/releasing
	build/releasing/bin/python -m pip install --quiet build cibuildwheel==4.3.5
	ROI_ALIGN_CUDA=0 build/releasing/bin/python -m build --sdist --outdir dist
	build/releasing/bin/python -m cibuildwheel --platform linux --output-dir dist

arm-tools:
	sudo apt-get update --quiet
	sudo apt-get install --quiet --yes g++-aarch64-linux-gnu qemu-user-static

# These targets create no environment: a GPU machine has its own torch and often no network.
gpu:
	$(GPU_PYTHON) -m harness.machines

$(GPU_STEPS): gpu-%:
	$(GPU_PYTHON) -m harness.machines $*

clean:
	rm -rf build dist impl/*.egg-info impl/roi_align/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
