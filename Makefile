# On a new machine: "make demo" or "make test". Both set up what they need, once.
#   make demo             the whole way on the bundled sample; ends in napari, or with HEADLESS=1 in a report
#   make test             formatting, lint, types, import rule, tests
#   make relion           install Debian's RELION and compare projections and maps with it (as root)
#   make docs-parameters  write docs/parameters.md anew from the declarations

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint relion docs-parameters clean

BIN := .venv/bin
DEMO ?= demo
HEADLESS ?=

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

setup:
	@.ci/setup

demo: setup
	$(BIN)/flex3d demo -o $(DEMO) $(if $(HEADLESS),--headless)

# Windows by file, each in a process of its own: after many of them Mesa's software renderer has crashed (docs/contributing.md).
test: setup lint
	$(BIN)/python -m pytest --ignore tests/ui
	for part in tests/ui/test_*.py tests/ui/explore tests/ui/studio; do $(BIN)/python -m pytest $$part || exit 1; done

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src/napari_flex3d
	$(BIN)/lint-imports

relion: setup
	command -v relion_project || { apt-get update -q && apt-get install -y -q --no-install-recommends relion; }
	$(BIN)/python -m pytest -s tests/relion

docs-parameters: setup
	$(BIN)/python docs/write_parameters.py

clean:
	rm -rf demo dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
