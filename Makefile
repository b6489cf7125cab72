# `make help` lists the targets. Each one first creates .venv and installs into it where that is missing.

PYTHON ?= python3
VENV ?= .venv
CONTROLLER_VENV ?= .venv-controller
# forks of a running simulation take Linux's /proc
DEMO_TRAINING ?= $(if $(wildcard /proc/self/fd),--agent rollout --steps 5000 --workers 2,--agent dqn --steps 20000)
TEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n > 4 ? 4 : n)))
PLAIN_TESTS := tests/test_envs.py tests/test_vector_env.py

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help .venv controller demo demo-controller test test-wide test-plain test-slow check format bench bench-quality clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

define create
	@test -x $(1)/bin/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1);" \
			"name another one, such as: make PYTHON=python3.12 $(or $(MAKECMDGOALS),.venv)" >&2; \
		exit 2; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
endef

.venv: $(INSTALLED) ## create the virtual environment and install into it

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py $(wildcard native/*.cpp native/*.h)
	$(call create,$(VENV))
	@echo "Installing into $(VENV): SUMO, PyTorch and the rest, some minutes and gigabytes the first time"
	$(PY) -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

controller: $(CONTROLLER_VENV)/.installed ## into .venv-controller what control.py needs, nothing else: for a computer beside a controller

$(CONTROLLER_VENV)/.installed: deployment/requirements.txt constraints.txt
	$(call create,$(CONTROLLER_VENV))
	$(CONTROLLER_VENV)/bin/python -m pip install --disable-pip-version-check \
		--constraint constraints.txt --requirement deployment/requirements.txt
	@touch $@
	@echo "Ready: $(CONTROLLER_VENV)/bin/python control.py --help"

demo: $(INSTALLED) ## train on an embedded scenario, compare with the baselines, write a replay page
	rm -rf runs/demo runs/demo-evaluation runs/demo-replay
	$(PY) train.py --scenario single $(DEMO_TRAINING) --seed 0 --out runs/demo
	$(PY) evaluate.py --scenario single \
		--controllers fixed_time actuated max_pressure greedy cop runs/demo --seeds 5 --out runs/demo-evaluation
	$(PY) replay.py record --scenario single --end 1800 --controller actuated --out runs/demo-replay/actuated.replay
	$(PY) replay.py record --scenario single --end 1800 --controller runs/demo --out runs/demo-replay/policy.replay
	$(PY) replay.py view runs/demo-replay/actuated.replay runs/demo-replay/policy.replay --out runs/demo-replay/page.html

demo-controller: $(INSTALLED) ## an exported policy commands an emulated controller over SNMP for a simulated hour
	$(PY) benchmarks/closed_loop.py --out runs/demo-controller

test: $(INSTALLED) ## the test suite, without its wide and its slow part: under five minutes
	$(PY) -m pytest -m "not slow and not wide" -n $(TEST_WORKERS) --dist worksteal

test-wide: $(INSTALLED) ## its wide part: whole commands, further networks, algorithms and faults
	$(PY) -m pytest -m "wide and not slow" -n $(TEST_WORKERS) --dist worksteal

test-plain: $(INSTALLED) ## the environments' tests once more, without compiled code
	INTERGREEN_NATIVE=0 $(PY) -m pytest -m "not slow" -n $(TEST_WORKERS) --dist worksteal $(PLAIN_TESTS)

test-slow: $(INSTALLED) ## the slow part: training, whole networks, random networks
	$(PY) -m pytest -m slow -n $(TEST_WORKERS) --dist worksteal

check: $(INSTALLED) ## lint, format, types, direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED) ## put the code in the form that `make check` asks for
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(INSTALLED) ## the speed benchmark
	$(PY) benchmarks/speed.py

bench-quality: $(INSTALLED) ## train by the recipes and judge: make bench-quality SCENARIO=cologne1 (hours)
	$(PY) -m benchmarks.quality $(SCENARIO)

clean: ## remove the virtual environment and caches; runs/ stays
	rm -rf .venv .venv-controller .venv-ci.* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
