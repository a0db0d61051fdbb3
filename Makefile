# Two commands, each complete on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test check clean

demo: $(STAMP)
	@$(RUN)/fewshot demo

# two processes of one thread each: on tiny models a second thread gains nothing
test: $(STAMP) check
	@OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist worksteal --cov --cov-report=term

check: $(STAMP)
	@$(RUN)/ruff check
	@$(RUN)/ruff format --check
	@$(RUN)/mypy

# torch first and by its exact version, so that an index that has a CPU build of it is used
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fewshot needs Python 3.11 or newer")'
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(RUN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV)
