# The two commands of the README are `make tutorial` and `make test`.
PYTHON ?= python3
SEED   ?= 0
OUT    ?= tutorial-run
BIN    := .venv/bin

.PHONY: tutorial test notebooks readme site preview clean

tutorial: .venv/installed
	$(BIN)/gcig tutorial --out $(OUT) --seed $(SEED) --force

test: .venv/installed-dev
	# one thread each: notebooks run side by side, and threads that wait for one another crawl on busy cores
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --timing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests

# run all notebooks and store their outputs, export the package, render the README
notebooks: .venv/installed-dev
	$(BIN)/nbdev_export
	$(BIN)/python tools/notebooks.py
	$(BIN)/python tools/readme.py

readme: .venv/installed-dev
	$(BIN)/python tools/readme.py

# run all notebooks and build _docs/ from what they show: with Quarto where it is on the PATH, else with smalldocs;
# FULL=1 measures all benchmarks, without it a small sample
site: .venv/installed-dev
	$(BIN)/python tools/site.py $(if $(FULL),--full)

preview: site
	$(BIN)/python -m http.server --directory _docs 8000

clean:
	rm -rf .venv build dist gcig.egg-info _proc _docs

.venv/installed: settings.ini setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@
