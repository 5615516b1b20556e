# All that a fresh machine needs: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check data bench docs clean

help:
	@echo "make demo    set up, then train, compare and report on pictures that come with Vitrail's packages"
	@echo "make test    set up, then all checks, the documentation and every ordinary test"
	@echo "make setup   the virtual environment .venv (made with PYTHON=$(PYTHON))"
	@echo "make check   formatting, lint, types, import layers, licences"
	@echo "make data    the real data and weights that some tests and benchmarks use, into .data"
	@echo "make bench   the queue of benchmarks; goes on where it stopped"
	@echo "make docs    the documentation, into site"
	@echo "make clean   everything that can be made again, but not .venv and .data"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml scripts/setup
	@scripts/setup $(PYTHON)
	@touch $@

demo: setup
	@$(BIN)/vitrail demo

# The last line printed is pytest's.
test: setup
	@scripts/system
	@$(BIN)/python scripts/fetch_data.py
	@scripts/check
	@scripts/docs
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup
	@scripts/check

data: setup
	@$(BIN)/python scripts/fetch_data.py

bench: setup
	@$(BIN)/python benchmarks/accuracy.py --minutes 40
	@$(BIN)/python benchmarks/compare.py --minutes 15
	@$(BIN)/python benchmarks/explained.py --minutes 5

docs: setup
	@scripts/docs

clean:
	rm -rf site .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find src tests scripts benchmarks -name __pycache__ -type d -exec rm -rf {} +
