# Each target sets up .venv once (tools/setup_venv.sh); `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := help

DURATION ?= 60
ARGS ?=
PROVE ?=
# Two more than there are cores: tests wait for processes now and then, but for those of `make core`.
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS ?= $(shell echo $$(($(CORES) > 6 ? 8 : $(CORES) + 2)))
# A worker that has nothing left takes from the others: tests take from a millisecond to half a minute.
PARALLEL = -n $(WORKERS) --dist worksteal

# A parent that runs on the rclpy wheels has its own library path in force, and this mark says so.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE VIRTUAL_ENV PYTHONHOME
unexport MAKEFLAGS MAKELEVEL
# Processes by the hundred start here: each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
COLCON := env PYTHONUNBUFFERED=1 $(PY) -m colcon --log-base log

.PHONY: help setup demo core test test-torch test-jazzy test-310 parameters prove check format clean distclean

help: ## list the targets
	@echo "make TARGET; Python 3.11 or 3.12 (PYTHON=/path/to/one), or a sourced ROS 2, is all that is needed"
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /  \1	/p' Makefile | expand -t 16

setup: ## make .venv with everything that the others need (they all do it themselves)
	@tools/setup_venv.sh test
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "setup: .venv is ready")

demo: ## the simulated robot with policy, detector and captioner (DURATION=60 [s], ARGS="--episodes 100")
	@tools/setup_venv.sh
	@echo "demo: .venv/bin/perf-inference demo --duration $(DURATION)$(if $(ARGS), $(ARGS))"
	@exec .venv/bin/perf-inference demo --duration $(DURATION)$(if $(ARGS), $(ARGS))

core: setup ## the tests that start no process and take no seconds each, on all cores
	@echo "core: pytest -n $(CORES) -m 'not process and not slow'"
	@$(PY) -m pytest -q -n $(CORES) --dist worksteal -m "not long and not torch and not process and not slow"

test: setup ## build the package with colcon and test what was built
	@echo "test: 1/3 building with colcon, into build/ and install/ ..."
	@rm -rf build/perf_inference install/perf_inference
	@$(COLCON) build --packages-select perf_inference --event-handlers console_start_end- summary-
	@echo "test: 2/3 testing what was built ..."
	@PYTHONSAFEPATH=1 $(COLCON) test --packages-select perf_inference --return-code-on-test-failure \
	    --pytest-args $(PARALLEL) \
	    --event-handlers console_direct+ console_start_end- summary-; tested=$$?; \
	echo "test: 3/3 colcon test-result"; \
	$(COLCON) test-result --test-result-base build/perf_inference; counted=$$?; \
	grep -hE '^=+ .*(passed|failed|error|no tests ran).* in [0-9.]+' log/latest_test/perf_inference/stdout.log | tail -n 1; \
	exit $$((tested > counted ? tested : counted))

test-torch: ## the tests that need PyTorch (installs torch into .venv once)
	@tools/setup_venv.sh torch
	@echo "test-torch: pytest $(PARALLEL) -m 'torch and not long'"
	@$(PY) -m pytest $(PARALLEL) -m "torch and not long"

test-jazzy: ## all tests on Jazzy's rclpy, where a Python 3.12 is found (makes .venv-jazzy once)
	@WORKERS=$(WORKERS) tools/test_with.sh jazzy

test-310: ## what needs no ROS on Python 3.10, where one is found (makes .venv-310 once)
	@WORKERS=$(WORKERS) tools/test_with.sh 310

parameters: setup ## write docs/parameters.md from the nodes' dataclasses
	@$(PY) tools/write_parameters.py

prove: setup ## the long acceptance runs; PROVE=name for one of them
	@$(if $(findstring lerobot,$(PROVE)),tools/setup_venv.sh torch && tools/setup_lerobot.sh)
	@echo "prove: pytest -m long$(if $(PROVE), -k $(PROVE))"
	@$(PY) -m pytest -m long -v -s $(if $(PROVE),-k "$(PROVE)")

check: setup ## ruff (format and lint) and mypy
	@echo "check: 1/3 ruff format --check"
	@$(PY) -m ruff format --check .
	@echo "check: 2/3 ruff check"
	@$(PY) -m ruff check .
	@echo "check: 3/3 mypy --strict"
	@$(PY) -m mypy

format: setup ## let ruff format and sort
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

clean: ## remove what builds and tests made
	@echo "clean: removing build/ install/ log/ and caches"
	@rm -rf build install log .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	@echo "distclean: removing .venv and .venv-*"
	@rm -rf .venv .venv.old .venv-jazzy .venv-310 perf_inference.egg-info
