# Each target makes .venv and installs what it needs first.
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)

.PHONY: demo two-starts test lint docs notebooks pictures package bench slow messages clean

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	@echo "Installing headstart into $(VENV): a few minutes, and up to 6 GB."
	$(PIP_INSTALL) -e .
	touch $@

# In two steps, so that pip holds the downloads of one step at a time.
$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the tools of the tests into $(VENV): a minute, and up to 1 GB."
	$(PIP_INSTALL) -e '.[dev]'
	touch $@

demo: $(VENV)/.core ## compare on digits: from scratch and from weights trained on other digits
	$(BIN)/headstart compare

two-starts: $(VENV)/.core ## three single runs on digits: pretrain on other digits, then train from scratch and from those weights
	$(BIN)/python examples/two_starts.py

# pytest-xdist runs one test file per process, the notebooks first, so that no long file is left at the end. PASSIVE
# keeps waiting threads from using the cores of the other process. Compiled modules are kept even where the environment
# disables that: the tests start dozens of processes that import torch.
test: export PYTHONDONTWRITEBYTECODE :=
test: lint ## lint and the default tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet src tests benchmarks docs examples
	$(BIN)/ruff format --quiet --check src tests benchmarks docs examples
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/deptry . --no-ansi >/dev/null 2>&1 || $(BIN)/deptry . --no-ansi

docs: $(VENV)/.core ## rewrite the field tables of docs/formats.md and verdict.schema.json from the schemas
	$(BIN)/python -m docs.schemas

notebooks: $(VENV)/.dev ## run the example notebooks again, and store their outputs
	rm -rf examples/runs
	$(BIN)/jupyter execute --inplace examples/compare.ipynb examples/optimizers.ipynb

pictures: $(VENV)/.dev ## draw docs/images/ from the study in examples/clothing, which needs its photos
	$(BIN)/python -m docs.pictures

package: $(VENV)/.dev ## build wheel and sdist in dist/, and compare on digits in a new environment that has the wheel
	rm -rf dist build/package
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	python3 -m venv build/package
	build/package/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) dist/*.whl
	cd build/package && bin/headstart compare

# Without tests/conftest.py, the notebooks train as many epochs as they say.
slow: $(VENV)/.dev ## slow tests: many kills, whole notebooks, and images if HEADSTART_TEST_DATA names their folder
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest examples

bench: $(VENV)/.dev ## speed, memory and quality next to a stock loop: make bench PHOTOS=… [WEIGHTS=…]
	$(BIN)/python -m benchmarks $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(WEIGHTS),--weights $(WEIGHTS))

messages: $(VENV)/.dev ## extract the messages for translators to build/headstart.pot
	mkdir -p build
	$(BIN)/pybabel --quiet extract --mapping-file pyproject.toml --no-location --sort-output \
		--project headstart --output build/headstart.pot src/headstart

clean:
	rm -rf $(VENV)
