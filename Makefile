# radfed: `make` alone lists what can be typed here.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
FLOWER ?= .flower
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS ?=
WHEELS ?= wheelhouse
PROTOS := $(wildcard protos/v1/*.proto) protos/generate.py
SOURCES := pyproject.toml $(PROTOS)

# Debian packages, each with a program that shows it is there.
FOR_DEMO := bubblewrap:bwrap
FOR_TEST := $(FOR_DEMO) dcmtk:storescu orthanc:Orthanc dicom3tools:dciodvfy strace:strace postgresql:pg_lsclusters chromium:chromium

.PHONY: help setup proto lint format types arch test check demo attack planting chaos bench wheelhouse clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready-dev ## make .venv with everything a change needs

proto: $(VENV)/.ready-dev ## generate the stubs of protos/v1
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m protos.generate

lint: $(VENV)/.ready-dev ## ruff (rules and format), buf, and the wire of the version before
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@cd protos && "$(abspath $(BIN))/buf" lint
	@cd protos && "$(abspath $(BIN))/buf" breaking --against ../tests/data/wire/previous.binpb

format: $(VENV)/.ready-dev ## let ruff repair and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.ready-dev ## mypy --strict
	@$(BIN)/mypy

arch: $(VENV)/.ready-dev ## the import rules of pyproject.toml
	@PATH="$(abspath $(BIN)):$$PATH" lint-imports

# Real processes on a busy machine: what fails is tried twice more, and the report says so (R).
test: packages-test proto ## everything a change must pass; does its own set-up
	@$(MAKE) --jobs 3 --output-sync=target types lint arch
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --reruns 2 $(ARGS)

check: test ## the same as test

demo: packages-demo $(VENV)/.ready ## three hospitals and a coordinator on this machine (ARGS=--once ends it)
	@$(BIN)/radfed demo $(ARGS)

attack: packages-test $(VENV)/.ready-dev ## the tests that try to break a promise
	@RADFED_ALL=1 RADFED_GAMES=$${RADFED_GAMES:-120} $(BIN)/python -m pytest -m attack $(ARGS)

planting: packages-test $(VENV)/.ready-dev ## plant identities in real files and look for what is left, 15 minutes (ARGS="--seed 2")
	@$(BIN)/python -m tests.planting $(ARGS)

chaos: packages-test $(VENV)/.ready-dev ## kill, cut the power, fill disks, mutate, fuzz, and half an hour of steady work: two hours (ARGS="kills --seed 2")
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: packages-test $(VENV)/.ready-dev $(FLOWER)/.ready ## measure receiving and rounds beside their peers, half an hour (ARGS=--quick: 2 minutes)
	@$(BIN)/python -m tests.bench ingest $(ARGS)
	@RADFED_FLOWER="$(abspath $(FLOWER))" $(BIN)/python -m tests.bench rounds $(ARGS)

wheelhouse: $(VENV)/.ready-dev ## wheels of radfed and all it needs, for a machine without a network
	@rm -rf $(WHEELS)
	@$(PIP) wheel --wheel-dir $(WHEELS) '.[ocr,postgres]'
	@echo "install there with: python3 -m pip install --no-index --find-links $(WHEELS) 'radfed[ocr]'"

clean: ## remove what was built here, .venv included
	@rm -rf $(VENV) $(FLOWER) wheelhouse dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f protos/v1/*_pb2.py protos/v1/*_pb2.pyi protos/v1/*_pb2_grpc.py protos/v1/*_pb2_grpc.pyi
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A fault is one line: each script prints a sentence where something is missing, and nothing else.
.PHONY: packages-demo packages-test
packages-demo:
	$(eval fault := $(shell sh deploy/setup/packages $(FOR_DEMO)))
	$(if $(fault),$(error $(fault)))
packages-test:
	$(eval fault := $(shell sh deploy/setup/packages $(FOR_TEST)))
	$(if $(fault),$(error $(fault)))

$(VENV)/.made:
	$(eval fault := $(shell sh deploy/setup/python $(PYTHON)))
	$(if $(fault),$(error $(fault)))
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# Flower caps protobuf below ours: it lives apart, for the bench alone.
$(FLOWER)/.ready:
	@echo "making $(FLOWER) with Flower, a peer of the bench"
	@$(PYTHON) -m venv $(FLOWER)
	@$(FLOWER)/bin/python -m pip --quiet --disable-pip-version-check install 'flwr>=1.26'
	@touch $@

# The build makes the stubs, so a changed treaty installs anew.
$(VENV)/.ready: $(VENV)/.made $(SOURCES)
	@echo "installing radfed into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.made $(SOURCES)
	@echo "installing radfed and its development tools into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.ready
