# svc: what a developer and a packager call. `make` lists it.

VENV   := .venv/bin
PYTHON := /usr/bin/python3
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
PYTEST := $(VENV)/python -B -m pytest
# The tests with a real systemd run as root in the tree of a user: they leave nothing of root's there.
PYTEST_AS_ROOT := $(SUDO) $(PYTEST) -p no:cacheprovider

PORT    ?= 8000
WORKERS ?= auto
PART    ?=
RUNS    ?= 5
ONLY    ?=
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help check test test-all demo bench soak deps deps-test deps-bench static unit unit-all system golden docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

check: deps static unit ## ruff, mypy, unit and golden tests; no root, a few minutes

test: deps-test static unit-all system ## the tests, also those that boot a real systemd (root; asks sudo)

test-all: deps-test static unit-all ## make test, and what takes many minutes
	$(PYTEST) -q -n 4 --every-uvicorn tests/unit -m long
	$(PYTEST_AS_ROOT) -q -n 2 --dist worksteal tests/system

demo: deps ## boot a throwaway systemd, serve on PORT= with WORKERS=, reload under load (root; asks sudo)
	@$(SUDO) $(PYTHON) -B -m tests.demo --port $(PORT) --workers $(WORKERS)

bench: deps-bench ## measure svc and its peers, fifty minutes; PART=reload RUNS=5 for less (root; asks sudo)
	@$(SUDO) .venv-bench/bin/python -B -m tests.bench $(PART) --runs $(RUNS) --only '$(ONLY)'

soak: deps-test ## every fault under load, then MINUTES= of reloads and random kills (root; asks sudo)
	@$(SUDO) $(VENV)/python -B -m tests.soak --minutes '$(MINUTES)'

deps: ## fetch what is missing: Debian packages, the virtual environment
	@tests/deps.sh

deps-test:
	@tests/deps.sh test

deps-bench:
	@tests/deps.sh bench

static: deps
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

unit: deps
	$(PYTEST) -q -n 4 -m "not long" tests/unit tests/render

unit-all: deps-test
	$(PYTEST) -q -n 4 -m "not long" --every-uvicorn tests/unit tests/render

system: deps-test
	$(PYTEST_AS_ROOT) -q -n 2 --dist worksteal tests/system -m "not long"

golden: deps ## write the expected units of tests/render anew, after a change that is meant
	UPDATE_GOLDEN=1 $(PYTEST) -q tests/render

docs: ## write the configuration table of README.md anew
	$(PYTHON) -B -m svc.manual table >.table.md
	sed -i -e '/^<!-- table -->$$/,/^<!-- \/table -->$$/{/^<!--/!d}' -e '/^<!-- table -->$$/r .table.md' README.md
	rm .table.md

clean: ## remove what was built and fetched
	rm -rf .venv .venv-uvicorn-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# install, uninstall
include packaging/install.mk
