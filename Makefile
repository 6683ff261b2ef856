# make run | test | lint | bench | demo: everything a developer or a first user needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
C_SOURCES := $(wildcard cext/*.c cext/*.h cext/*/*.h cext/*.py)

.PHONY: setup run test lint bench generate demo clean
setup: $(STAMP)

$(STAMP): pyproject.toml setup.py $(C_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test,lint]'
	touch $@

run: setup
	$(BIN)/reducto serve

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: setup
	$(BIN)/python -m tests.chart.generate

# All benchmarks, or those named: make bench NAMES='kernel series'
bench: setup
	$(BIN)/python -m tests.bench $(NAMES)

demo: setup
	$(BIN)/reducto demo

clean:
	rm -rf $(VENV) build dist *.egg-info reducto/_kernel*
