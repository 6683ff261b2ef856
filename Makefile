# make run | demo: for a first user. make setup | check | test | lint | coverage | bench: for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two stamps: RUN_STAMP says that `reducto` runs, DEV_STAMP that tests and linters are there as well.
RUN_STAMP := $(VENV)/.runs
DEV_STAMP := $(VENV)/.installed
C_SOURCES := $(wildcard cext/*.h cext/*/*.[ch] cext/*.py)

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' reducto/version.py)
COMMIT ?= $(shell git rev-parse HEAD)
# Times in what `make dist` makes are the commit's, so that the same commit gives the same bytes.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct $(COMMIT))
CREATED = $(shell date --utc --date=@$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
# docker works, too; only buildah can also set the times in the image's description.
IMAGE_BUILDER ?= buildah build --timestamp $(SOURCE_DATE_EPOCH)
IMAGE_ARGS ?=
IMAGE ?= reducto:$(VERSION)

.PHONY: setup run check check-lowest test lint coverage bench bench-gzip fuzz generate lock demo clean dist dist-source dist-packages image

# For developers: Reducto with the packages for tests and linters.
setup: $(DEV_STAMP)

$(DEV_STAMP): pyproject.toml setup.py $(C_SOURCES)
	@PYTHON=$(PYTHON) .ci/venv test,lint
	@touch $(RUN_STAMP) $@

# For users: only what `reducto` itself needs.
$(RUN_STAMP): pyproject.toml setup.py $(C_SOURCES)
	@PYTHON=$(PYTHON) .ci/venv
	@touch $@

run: $(RUN_STAMP)
	$(BIN)/reducto serve

demo: $(RUN_STAMP)
	$(BIN)/reducto demo

# Before each commit: lint, and the tests that need nothing but Python and gcc; under two minutes on two idle cores.
# The tests are those that carry neither of two markers (pyproject.toml explains both):
#   integration  needs a server, a client or an encoder of somebody else: docker, a registry, Go, pigz, ...
#   slow         takes longer than about two seconds, or more than ten together with its variants
# One process for each core runs them; which process gets a test is decided while they run.
QUICK := -m "not slow and not integration" --numprocesses auto --dist worksteal
check: lint
	$(BIN)/python -m pytest $(QUICK)

# The quick tests once more, in an environment of its own, with the lowest versions that pyproject.toml allows.
check-lowest:
	.ci/check-lowest

# The quick tests, and the share of lines that they run.
coverage: setup
	$(BIN)/python -m pytest $(QUICK) --cov --cov-report=term:skip-covered

# Everything; a test that needs what this machine lacks is skipped and says so.
test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -x $(BIN)/clang-format ]; then echo 'clang-format --dry-run -Werror cext'; \
	  $(BIN)/clang-format --dry-run -Werror $(filter %.c %.h,$(C_SOURCES)); \
	else echo 'clang-format is missing: the layout of C files is not checked'; fi

generate: setup
	$(BIN)/python -m tests.chart.generate

# The versions that the image is built with: what pyproject.toml allows, as far as possible those locked before.
lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --extra redis --extra tracing --output-file requirements.lock pyproject.toml -

# All benchmarks, or those named: make bench NAMES='kernel series'
bench: setup
	$(BIN)/python -m tests.bench $(NAMES)

# The gzip models alone: every encoder, version and level. Takes hours; goes on where it was broken off.
bench-gzip: setup
	$(BIN)/python -m tests.bench gzip gzip-range

# Fuzzes the kernel (with ASan and UBSan), then the parsers, each target so long: make fuzz SECONDS=600
SECONDS ?= 60
fuzz: setup
	cext/fuzz/run.sh $(SECONDS)
	$(BIN)/pip install --quiet '.[fuzz]' || true  # without it the search is blind
	$(BIN)/python -m tests.fuzz $(SECONDS)

dist: dist-packages image

# The commit as it is in git, with the stamp that `reducto --version` shows.
dist-source:
	rm -rf build/source
	mkdir -p build/source
	git archive $(COMMIT) | tar -x -C build/source
	printf '{"commit": "%s", "time": "%s"}\n' $(COMMIT) $(CREATED) > build/source/reducto/build.json

# The source archive is packed again, with one time and no owner; the wheel is built from it.
dist-packages: setup dist-source
	$(BIN)/pip install --quiet build
	rm -rf dist build/sdist
	mkdir -p dist
	$(BIN)/python -m build --sdist --outdir build/sdist build/source >/dev/null
	tar -xf build/sdist/reducto-$(VERSION).tar.gz -C build/sdist
	tar --sort=name --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
	  -C build/sdist -c reducto-$(VERSION) | gzip --no-name -9 > dist/reducto-$(VERSION).tar.gz
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) CFLAGS=-g0 \
	  $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist dist/reducto-$(VERSION).tar.gz

image: dist-source
	$(IMAGE_BUILDER) --tag $(IMAGE) $(IMAGE_ARGS) \
	  --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg CREATED=$(CREATED) \
	  --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) build/source

clean:
	rm -rf $(VENV) .venv-lowest build dist *.egg-info reducto/_kernel*
