# demo, test, lint, bench and screenshots set up what they need in .venv by themselves and can be repeated.
#
#   make demo         apply the shipped models to images that come with Python packages; results in demo/
#   make test         run the tests
#   make lint         check the style
#   make bench        measure the trained models against their baselines; numbers in bench.json
#   make screenshots  render every tab of the panel in its important states; pictures in build/screenshots/
#   make faults       do to the panel's runs what users and machines do, and count what is left behind (minutes)
#   make clean        remove .venv and everything that these commands wrote
#
# PYTHON=python3.12 chooses the interpreter, PIP_FLAGS="…" goes to pip (another index, a proxy, a folder of wheels).

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
REQUIREMENTS := Testing/requirements.txt
DATA_REQUIREMENTS := Testing/requirements-data.txt

# Small images: more threads than this only wait for each other.
export OMP_NUM_THREADS ?= 2
export QT_QPA_PLATFORM ?= offscreen
export PYTHONPATH := $(CURDIR)
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench screenshots faults clean
.DEFAULT_GOAL := test

demo: $(READY)
	$(BIN)/python Testing/Demo/demo.py

test: $(READY)
	$(BIN)/python -m pytest -q

lint: $(READY)
	$(BIN)/ruff check

bench: $(READY)
	$(BIN)/python Testing/Benchmarks/bench.py

screenshots: $(READY)
	$(BIN)/python Testing/Screenshots/screenshots.py

faults: $(READY)
	$(BIN)/python Testing/Faults/faults.py

$(READY): $(REQUIREMENTS) $(DATA_REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "GANSynthesis is developed with Python 3.10 to 3.13, which '$(PYTHON)' is not:" \
	       "name one, for example: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' does not work here (Debian and Ubuntu have it in the package python3-venv)."; exit 1; }
	$(BIN)/python -m pip install $(PIP_FLAGS) -r $(REQUIREMENTS)
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps -r $(DATA_REQUIREMENTS)
	@$(BIN)/python -c 'import PySide6.QtWidgets' || { \
	  echo "Qt lacks system libraries, named above (Debian and Ubuntu: apt-get install libegl1 libgl1 libxkbcommon0" \
	       "libdbus-1-3 libfontconfig1)."; exit 1; }
	@touch $(READY)

clean:
	rm -rf $(VENV) demo build bench.json .pytest_cache .ruff_cache
	find GANSynthesis GANSynthesisLib Testing -name __pycache__ -type d -prune -exec rm -rf {} +
