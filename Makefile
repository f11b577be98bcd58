# The commands of this project, for GNU make. `make` alone lists them.
#
# Everything is installed into .venv, at the versions of constraints.txt. A stamp file there makes the
# second run instant; editing pyproject.toml, setup.py or constraints.txt installs again.
#
#   make run PYTHON=python3.12              another interpreter, the first time
#   make run PIPELINE=pipelines/mine.toml   another pipeline
#   make test ARGS="-k orders -x"           some tests
#   make test JOBS=0                        one after the other, to debug
#   make run PIP_FLAGS="..."                more options for pip

.DEFAULT_GOAL := help
.PHONY: help run test check dashboard bench up down clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
PIPELINE ?= pipelines/orders.toml pipelines/supply_chain.toml
ARGS ?=
# Files of tests that run side by side; a file stays together, for what its tests share. 0: in this process.
JOBS ?= 2
PIP_FLAGS ?=
SPEEDS := $(sort $(wildcard benchmarks/speed*.py))
SOURCES := pyproject.toml setup.py constraints.txt

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.installed  ## install, then train, gate and promote with the default pipelines
	@set -e; for pipeline in $(PIPELINE); do $(BIN)/factory run "$$pipeline"; echo; done
	@echo
	@echo "Where to look next:"
	@echo "  make dashboard               who serves today, why, and how it was trained"
	@echo "  $(BIN)/factory models       every model version with its verdicts"
	@echo "  $(BIN)/factory --help       promote, roll back, import a company's own history"

test: $(VENV)/.installed-test  ## run the tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(VENV)/.installed-test  ## lint, formatting, types, layout and import direction
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layout.py

dashboard: $(VENV)/.installed  ## show the registry in a browser
	@$(BIN)/factory dashboard

bench: $(VENV)/.installed-test  ## measure the speeds that benchmarks/README.md reports
	@set -e; for script in $(or $(SPEEDS),$(error found no benchmarks/speed*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script"; \
	done

up:  ## both services on PostgreSQL and a factory on Ray, in containers; compose/README.md
	@compose/stack up

down:  ## stop the containers; VOLUMES=1 also forgets their orders, models and secrets
	@compose/stack down $(if $(VOLUMES),--volumes)

clean:  ## remove what make and the tools made; models and the registry in .workgym stay
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find envs services agents factory tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The interpreter is looked for once, when .venv is made.
$(BIN)/python:
	@set -e; for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$name"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "workgym needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)."; \
	  echo "Install a newer Python, then name it: make $(or $(firstword $(MAKECMDGOALS)),run) PYTHON=python3.12"; \
	  exit 1; \
	fi >&2; \
	"$$found" -m venv $(VENV)

# Linux alone gets CUDA (several GB) with the plain torch, so say it before the download begins.
$(VENV)/.warned: | $(BIN)/python
	@if [ "$$(uname -s)" = Linux ] && $(BIN)/python -m pip install -q --dry-run --no-deps --report - \
	    -c constraints.txt $(PIP_FLAGS) torch 2>/dev/null | grep -Eq '"version": "[0-9]+[.][0-9.]+"'; then \
	  echo "Note: this brings torch with CUDA, several GB. For the CPU build interrupt, and run again with"; \
	  echo "PIP_EXTRA_INDEX_URL set to the CPU wheel index that PyTorch's own installation page names."; \
	fi
	@touch $@

$(VENV)/.installed: $(SOURCES) | $(BIN)/python $(VENV)/.warned
	@echo "Installing workgym into $(VENV); the first time takes a few minutes ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS) -e .
	@touch $@

$(VENV)/.installed-test: $(SOURCES) | $(BIN)/python $(VENV)/.warned
	@echo "Installing workgym and its test tools into $(VENV); the first time takes a few minutes ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_FLAGS) -e '.[test,onnx,plot,pettingzoo,forecast,mlflow]'
	@touch $@ $(VENV)/.installed
