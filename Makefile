# make demo    train two short runs on embedded digits and print their table
# make test    the tests that a change must pass
# make slurm   runs on a real Slurm of the tests' own; skipped where that cannot be started
# make check   formatter, linter, types, import contracts, then the tests
# make pictures  the screens of `rpat tui --demo`, for docs/pictures
# make bench   start-up, logging, a store of 10 million rows, the terminal UI, beside plain baselines
# make soak    hundreds of kills, writers for ten minutes, two hundred Slurm jobs: an hour
#
# Each sets up everything it needs in .venv; Python 3.11 or newer, make and a package index do.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
PYTEST_ARGS ?=

.PHONY: demo test slurm check lint format bench pictures soak clean

demo: $(READY)
	$(BIN)/rpat demo --home .demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

slurm: $(READY)
	RPAT_TEST_SLURM=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "slurm and not soak" tests/slurm $(PYTEST_ARGS)

check: lint test

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/logcost.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/tui.py

pictures: $(READY)
	$(BIN)/python bench/pictures.py

soak: $(READY)
	RPAT_TEST_SLURM=1 $(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

clean:
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@
