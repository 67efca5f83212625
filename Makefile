# make demo and make test are all a newcomer needs; each makes .venv, installs what it needs and does its work.
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo two-starts test lint bench slow clean

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.core

demo: $(VENV)/.core ## the experiment on digits: from scratch against weights trained on other digits
	$(BIN)/headstart compare

two-starts: $(VENV)/.core ## three short runs on digits: other digits, then from scratch and from those weights
	$(BIN)/python examples/two_starts.py

# Two processes, each with a file at a time; threads that wait do not spin, which would take the cores from the other.
test: lint ## everything that must always hold
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet src tests benchmarks examples
	$(BIN)/ruff format --quiet --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/deptry . --no-ansi >/dev/null 2>&1 || $(BIN)/deptry . --no-ansi

slow: $(VENV)/.dev ## longer proofs: many kills, real photos where they lie beside the checkout
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.dev ## speed, memory and quality beside a stock loop: make bench PHOTOS=… [WEIGHTS=…]
	$(BIN)/python -m benchmarks $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(WEIGHTS),--weights $(WEIGHTS))

clean:
	rm -rf $(VENV)
