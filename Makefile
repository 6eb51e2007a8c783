# The project's verbs. `make` alone lists them.

ENV ?= demo
PARAMS ?=
PARTS ?=
SAVE ?=
SHUFFLE ?=
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
# The first of these that is 3.11-3.13 makes the virtual environment.
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11 python
# Checked for spelling, and for one newline at the end of each file.
TEXTS := README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff Makefile pyproject.toml benchmarks conf docs notebooks src tests zensical.toml
TEXT_FILES := \( -name '*.md' -o -name '*.py' -o -name '*.yml' -o -name '*.toml' -o -name '*.j2' -o -name '*.cff' \
	-o -name '*.ipynb' -o -name Makefile \)
# Tests that share something stay on one worker, and the longest come first (tests/conftest.py).
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
# How far an installation is, on a terminal; elsewhere only what goes wrong.
QUIET = $(shell test -t 2 || echo --quiet)
# Only the package index is contacted.
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help run test unit coverage docs translations viz lint format lock bench storm clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## set up, then run the three pipelines (ENV=demo: phantom cells, minutes, no network)
	$(BIN)/kedro run --env $(ENV) $(if $(PARAMS),--params $(PARAMS))
	@echo "next  make viz ENV=$(ENV)  (the pipelines in a browser)"
	@echo "      $(BIN)/kedro run --env $(ENV) --pipelines reporting  (the report again)"
	@echo "      $(BIN)/kedro run --env cpu --params source.path=cell_images.zip  (real cells)"

test: $(READY) lint ## set up, lint, and run all tests (SHUFFLE=1: in another order each time)
	$(BIN)/python -m pytest $(WORKERS) \
		$(if $(SHUFFLE),--random-order-bucket=global --random-order)

unit: $(READY) ## run the tests that run no whole pipeline, on any operating system
	$(BIN)/python -m pytest $(WORKERS) --ignore tests/runs

coverage: $(READY) ## run those tests and report which lines of src they reach (htmlcov/index.html)
	$(BIN)/python -m pytest $(WORKERS) --ignore tests/runs \
		--cov malaria_kedro --cov-report term:skip-covered --cov-report html

docs: $(READY) ## build the documentation site in site/
	$(BIN)/python docs/generate_configuration.py
	$(BIN)/python benchmarks/render.py
	$(BIN)/zensical build --clean --strict

translations: $(READY) ## bring the catalogues of texts up to date with the source
	$(BIN)/python docs/update_translations.py

viz: $(READY) ## show the pipelines in a browser
	$(BIN)/kedro viz run --env $(ENV)

lint: $(READY) ## check style, format, spelling, types and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell $(TEXTS)
	find $(TEXTS) -path conf/local -prune -o -type f $(TEXT_FILES) -print0 | xargs -0 $(BIN)/end-of-file-fixer
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## resolve pyproject.toml again into requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --all-extras --python-version 3.11 --upgrade \
		--no-emit-index-url --no-header --quiet pyproject.toml --output-file requirements.lock

bench: $(READY) ## measure speed and memory, 15 min (PARTS="epoch memory": those; SAVE=1: into benchmarks/results)
	$(BIN)/python benchmarks/bench.py $(PARTS) $(if $(SAVE),--save)
	$(BIN)/python benchmarks/render.py

storm: $(READY) ## kill a training fifty times and compare the result with an uninterrupted one
	$(BIN)/python -m pytest -m storm -s tests/runs/test_interrupted_runs.py

clean: ## remove caches, builds and the demo's data (not .venv, not real cells)
	rm -rf build dist site htmlcov .coverage .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .viz data/demo \
		src/*.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@set -e; for python in $(PYTHONS); do \
		if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
			test -x $(BIN)/python || "$$python" -m venv $(VENV); found=yes; break; fi; done; \
	test "$$found" = yes || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "installing the packages into $(VENV): about 7 GB, a minute where they are cached, else several"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync $(QUIET) --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
