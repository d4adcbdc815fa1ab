# Everything that one types. `make help` lists the targets.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(firstword $(foreach version,python3 python3.14 python3.13 python3.12 python3.11,$(if $(shell $(version) -c \
	'$(SUPPORTED)' 2>/dev/null && echo yes),$(version))))
VENV := .venv
STAMP := $(VENV)/.installed
AIRFLOW := .lifecycle/airflow/venv
RESOLVE = uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --python-version 3.11 --no-header --no-annotate
UV_VERSION = $(shell sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.txt)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Where this is set, every start would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help env repro test test-all prove lint format lab ui serve docs picture deliver container airflow lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.txt pyproject.toml
ifeq ($(PYTHON),)
	$(error Python 3.11 to 3.14 is needed, and none was found as python3 or python3.1x. Name one: make PYTHON=/path/to/python)
endif
	@echo "env: making $(VENV) from requirements.txt"
	@$(PYTHON) -c '$(SUPPORTED)' || \
		{ echo "env: Python 3.11 to 3.14 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "env: $(PYTHON) cannot make an environment: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(VENV)/bin/uv pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements.txt
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

env: $(STAMP) ## make the environment in .venv from the hashed lock

repro: $(STAMP) ## rebuild what is not up to date, then promote the model if it is blessed
	@echo "repro: dvc repro runs the stages whose inputs changed"
	@python -m lifecycle.pipeline.forkserver sh -c 'dvc repro && lifecycle promote --if-blessed'
	@echo "repro: done; open reports/index.html"

test: $(STAMP) ## the quick tests: need nothing but this checkout
	@python -m pytest -n 3 -m "not integration"

test-all: $(STAMP) ## all tests, with those that need system packages, the coverage of src/, and the ML Test Score
	@rm -f .coverage .coverage.*
	@python -m pytest -n 3 --durations=20 --cov --cov-report=term --cov-fail-under=90
	@lifecycle readiness --least 5

prove: $(STAMP) ## all tests at full size, and the benchmarks: hours, before an issue is closed
	@LIFECYCLE_PROVE=1 python -m pytest -n 2
	@python -m benchmarks

lint: $(STAMP) ## ruff (lint and format, notebooks too) and strict types
	@ruff check .
	@ruff format --check .
	@mypy

format: $(STAMP) ## let ruff mend what it can
	@ruff check --fix .
	@ruff format .

lab: $(STAMP) ## JupyterLab on 127.0.0.1
	@jupyter lab --ip 127.0.0.1 notebooks

ui: $(STAMP) ## MLflow on 127.0.0.1: runs, trials, versions
	@MLFLOW_DISABLE_TELEMETRY=true mlflow ui --host 127.0.0.1 --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

serve: $(STAMP) ## answer requests with the champion, on 127.0.0.1:8000
	@lifecycle serve

docs: $(STAMP) ## build the documentation in docs/_build; a warning is an error
	@python -m sphinx --fail-on-warning --keep-going --quiet --jobs auto docs docs/_build
	@echo "docs: open docs/_build/index.html"

picture: $(STAMP) ## take the README's picture of reports/index.html (needs Chromium)
	@python docs/take_picture.py reports/index.html docs/images/front_page.png

deliver: $(STAMP) ## test, rebuild, gate, build the image, try it, promote: what the delivery workflow does, here
	@ops/deliver.sh

container: ## build the image on a base made here, and try it (Debian, as root)
	@ops/try_container.sh

$(AIRFLOW)/.installed: ops/airflow/requirements.txt | $(STAMP)
	@echo "airflow: making $(AIRFLOW) from ops/airflow/requirements.txt"
	@test -x $(AIRFLOW)/bin/python || uv venv --quiet --clear --no-project --python "$(PYTHON)" $(AIRFLOW)
	@uv pip sync --quiet --python $(AIRFLOW)/bin/python --require-hashes $<
	@touch $@

airflow: $(AIRFLOW)/.installed ## make Airflow's own environment in .lifecycle/airflow/venv, for the DAG in dags/

lock: $(STAMP) ## resolve the locks from pyproject.toml; versions stay unless UPGRADE=--upgrade is given
	@$(RESOLVE) $(UPGRADE) --all-extras --group dev --group docs pyproject.toml --output-file requirements.txt
	@printf 'scipy\nfastapi\n' | $(RESOLVE) --group serve --constraints requirements.txt --excludes - \
		--output-file ops/requirements.txt
	@$(RESOLVE) $(UPGRADE) --group airflow --output-file ops/airflow/requirements.txt

clean: ## remove what can be rebuilt; the champion, its history, what `adopt --undo` needs, mlflow.db and DVC's cache stay
	rm -rf data/raw data/validated data/features models/tuned models/candidate models/verdict.json models/blessing.json
	rm -rf data/simulated data/retraining reports/*.html reports/notebooks reports/plots reports/live reports/explain.json
	rm -rf reports/monitor.json reports/replay.json
	test ! -d .lifecycle || find .lifecycle -mindepth 1 -maxdepth 1 ! -name adopted -exec rm -rf {} +
	rm -rf docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* dvc_plots
