# `make demo` and `make test` each build what they need in .venv, which this file makes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# What the tests compile is kept from one run to the next: compiling is most of their time.
export TCL_JAX_TESTS_CACHE ?= $(abspath $(VENV))/.tests_cache

.PHONY: demo dist docs test test-quick test-slow test-old-jax test-prepare test-tpu-plan test-wheel lint clean

demo: $(VENV)/.train
	$(BIN)/python main.py --config=digits_tcl

test: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup --durations=60 --durations-min=1

# A subset of a minute, for another Python or JAX: make test-quick PYTHON=python3.12 VENV=.venv312
test-quick: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup -m quick

test-slow: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist loadgroup -m slow --durations=20 --durations-min=5

# The losses on the oldest JAX that they run on, which the training does not: golden files and every member's formula.
test-old-jax:
	$(MAKE) $(VENV)-old-jax/.old-jax VENV=$(VENV)-old-jax
	$(VENV)-old-jax/bin/python -m pytest -p tests.losses.old_jax --noconftest -p no:cacheprovider -n 2 \
	  --dist worksteal tests/losses/test_golden.py tests/losses/test_family.py -k "golden or formula or eight" -m ""

# What needs large packages: preparing data sets by TFDS' own builders (TensorFlow), and the logs of W&B and MLflow. In a
# folder of its own, as nothing else may need them.
test-prepare:
	$(MAKE) $(VENV)-prepare/.prepare VENV=$(VENV)-prepare
	$(VENV)-prepare/bin/pytest -m slow tests/data tests/docs/test_trackers.py

# What needs the TPU compiler (0.7 GB, no TPU): plans for TPUs that are not there. In a folder of its own, too.
test-tpu-plan:
	$(MAKE) $(VENV)-tpu-plan/.tpu-plan VENV=$(VENV)-tpu-plan
	$(VENV)-tpu-plan/bin/pytest -m slow tests/plan

# The files of a release in dist/, as an index takes them.
dist: $(VENV)/.test
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

# What a user has who installs the wheel: in a folder of its own each time, as nothing may be there that it lacks.
test-wheel: dist
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	.ci/wheel $(VENV)-wheel dist/*.whl

# The site of docs/ in site/, every link of which is checked; in a folder of its own, as nothing else needs what builds it.
docs:
	$(MAKE) $(VENV)-docs/.docs VENV=$(VENV)-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet
	@echo 'The site is in site/index.html'

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv* build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: $(PYTHON) does not start a Python of 3.11 or newer: name one, as in make PYTHON=python3.12.' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Compiling all modules is half of an installation. Each is compiled when it is first imported instead, unless
# PYTHONDONTWRITEBYTECODE keeps the result from being stored then.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
  --$(if $(PYTHONDONTWRITEBYTECODE),,no-)compile

$(VENV)/.train: $(VENV)/.python pyproject.toml
	@echo 'Installing into $(VENV), which takes a minute or two the first time.'
	$(INSTALL) -e '.[train]'
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml
	@echo 'Installing into $(VENV), which takes a minute or two the first time.'
	$(INSTALL) -e '.[train,test]'
	@touch $(VENV)/.train $@

$(VENV)/.old-jax: $(VENV)/.python
	$(INSTALL) 'jax[cpu]==0.4.38' 'pytest>=8.3,<9.2' pytest-xdist
	@touch $@

$(VENV)/.docs: $(VENV)/.python pyproject.toml
	$(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.prepare: $(VENV)/.python pyproject.toml
	$(INSTALL) -e '.[train,test,prepare]' opencv-python-headless wandb mlflow-skinny
	@touch $@

$(VENV)/.tpu-plan: $(VENV)/.python pyproject.toml
	$(INSTALL) -e '.[train,test,tpu-plan]'
	@touch $@
