# make demo | test | gates | bench | lint | install; see `make help`
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CONSTRAINTS ?= constraints/core.txt
SET := $(basename $(notdir $(CONSTRAINTS)))
VENV ?= .venv$(if $(filter-out core,$(SET)),-$(SET))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && echo $$p && break; done)

# What vendors make for their devices: tested in the sets of versions that are Tandem's own.
SDKS := realsense,dynamixel,feetech,franka,franka-sim,
# A sourced ROS brings its own rclpy; Meta-World, Gymnasium-Robotics and lerobot come only with a set that pins them.
EXTRAS := learn,kinematics,$(if $(ROS_DISTRO),,ros,)operator,bags,hdf5,$(if $(filter core newest,$(SET)),$(SDKS))$(shell \
	sed -n 's/^\(metaworld\|lerobot\|gymnasium-robotics\)==.*/\1,/p' $(CONSTRAINTS))dev
empty :=
EXTRAS := $(subst $(empty) $(empty),,$(EXTRAS))

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOG := $(VENV)/install.log
LIBRARIES := libegl1:libEGL.so.1 libosmesa6:libOSMesa.so libgl1:libGL.so.1 libusb-1.0-0:libusb-1.0.so.0
BUDGET_MIN ?= 60
PYTEST_ARGS ?=
export MUJOCO_GL ?= egl

.PHONY: help install libraries browser demo test lint pytest gates bench

help:
	@echo "make demo [QUICK=1]          install, then the whole story in simulation"
	@echo "make test                    install, then lint, types and all tests"
	@echo "make gates [BUDGET_MIN=60]   run the measurements that are missing or stale"
	@echo "make bench                   speed and memory, each against its target"
	@echo "make lint                    ruff and pyright"
	@echo "make install                 the environment alone, in $(VENV)"
	@echo "CONSTRAINTS=constraints/newest.txt   another tested set, in an environment of its own"

install: libraries $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@if [ -z "$(PYTHON)" ]; then \
		echo "Tandem needs Python 3.11 or 3.12 and found neither; install one, or: make PYTHON=/path/to/python3.11"; exit 1; fi
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || ./.ci/system_libraries python3-venv:no-such-command
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing $(SET) [$(EXTRAS)] into $(VENV): some minutes; log in $(LOG)"
	@$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]' >$(LOG) 2>&1 \
		|| { tail -n 25 $(LOG); echo "installation failed; the whole log is $(LOG)"; exit 1; }
	@touch $@

libraries:
	@./.ci/system_libraries $(LIBRARIES)

browser:
	@command -v chromium-browser google-chrome >/dev/null 2>&1 || ./.ci/system_libraries chromium:chromium

demo: install
	$(BIN)/tandem demo $(if $(QUICK),--quick)

# Lint runs beside the first tests, which share the machine anyway; its findings make the whole fail, and stop no test.
test: install browser
	@status=0; $(MAKE) --no-print-directory lint & lint=$$!; \
	$(MAKE) --no-print-directory pytest || status=1; \
	wait $$lint || { echo "lint has findings: make lint"; status=1; }; exit $$status

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# First what may share the machine, a core each; then what mostly waits for processes that it starts, two at a time; then
# what measures time, one by one. What failed is run once more by itself, and has to pass then: real time on a machine
# that others use too.
PYTEST := $(BIN)/python -m pytest
BESIDE := OMP_NUM_THREADS=1 $(PYTEST) --dist loadfile
pytest: install browser
	@status=0; \
	$(BESIDE) -n auto --maxprocesses 4 -m "not alone and not paced" $(PYTEST_ARGS) || [ $$? = 5 ] || status=1; \
	$(BESIDE) -n 2 -m paced $(PYTEST_ARGS) || [ $$? = 5 ] || status=1; \
	$(PYTEST) -m alone $(PYTEST_ARGS) || [ $$? = 5 ] || status=1; \
	[ $$status = 0 ] || { echo "once more, what failed:"; \
		$(PYTEST) --last-failed --last-failed-no-failures=none $(PYTEST_ARGS); }

gates: install
	@$(BIN)/python -c 'import ray' 2>/dev/null \
		|| $(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS) -e '.[scale]'
	$(BIN)/python benchmarks/gates.py --budget-min $(BUDGET_MIN)

bench: install
	$(BIN)/tandem bench all
