# make demo   real pictures, a trained network, a page: http://localhost:8000
# make test   all tests; what they need is installed first
# make lint   style, types, one-way imports, a server without torch
# make bench  the measurements of docs/benchmarks.md, on the demo's bundle
# make bench-training  what training is worth, row by row (hours; goes on where it was stopped)
# make prove-training  trainings that are killed and resumed end with the same weights, bit for bit
# make bench-index     what a job costs, beside a bare loop, again and at two million rows; a thousand live changes a second
# make prove-filters   a hundred thousand random filters find what plain Python finds
# make prove-index     a collection survives a kill at every write, power cuts, and kills under load
# make up     the demo's collection in containers, on port 8000
#
# TORCH_INDEX  address of another package index for torch, see README.md
PYTHON ?= python3
TORCH_INDEX ?=

bin := .venv/bin
pip_install := $(bin)/pip install --disable-pip-version-check -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test lint bench bench-training bench-compare bench-peers bench-search bench-index prove-training prove-filters prove-index up screenshot clean

demo: demo/bundle/bundle.json
	$(bin)/lookalike index demo/emoji --origin gallery --bundle demo/bundle --to demo/collection
	$(bin)/lookalike serve demo/collection

test: .venv/dev
	$(bin)/python -m pytest $(PYTEST)

lint: .venv/dev .venv-serve/installed
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy model index service lookalike training bench
	$(bin)/lint-imports
	$(bin)/hadolint Dockerfile
	.venv-serve/bin/python -c "import service.app, lookalike.cli, sys; assert 'torch' not in sys.modules"

bench: .venv/dev demo/bundle/bundle.json
	$(bin)/python -m bench.metrics
	$(bin)/python -m bench.calibration
	$(bin)/python -m bench.families
	$(bin)/python -m bench.runtimes
	$(bin)/python -m bench.photos
	$(bin)/python -m bench.startup
	$(bin)/python -m bench.filters
	$(bin)/python -m bench.duplicates

bench-training: .venv/dev
	$(bin)/python -m bench.training emoji icons objects ablation curves busy steps loss architectures
	$(bin)/python -m bench.training --table

# SEED=… repeats the moments of another proof
prove-training: .venv/dev
	$(bin)/python -m bench.training kills --count 30 --seed $(or $(SEED),$(shell date +%s))

# an hour and a half; killed, it goes on where it was
bench-peers: .venv/dev
	$(bin)/python -m bench.peers
	$(bin)/python -m bench.peers --table

# six hours; killed, it goes on where it was
bench-compare: build/emoji/labels.csv build/icons/labels.csv
	$(bin)/python -m bench.audit
	$(bin)/lookalike compare --data build/emoji --mask family --to build/bench/compare-emoji
	$(bin)/lookalike compare --data build/icons --mask family --to build/bench/compare-icons

# SEED=… repeats the filters of another proof
prove-filters: .venv/dev
	LOOKALIKE_FILTERS=100000 $(bin)/python -m pytest tests/index/search/test_filters.py -k plain_evaluation -o timeout=0 $(if $(SEED),--hypothesis-seed=$(SEED))

# needs strace; SEED=… repeats the cuts and kills of another proof
prove-index: .venv/dev
	$(bin)/python -m bench.crashes --seed $(or $(SEED),$(shell date +%s))

# a million real vectors are made first: two hours
bench-search: .venv/dev demo/bundle/bundle.json
	$(pip_install) -e '.[train,dev,bench]'
	$(bin)/python -m bench.search real
	$(bin)/python -m bench.search synthetic
	$(bin)/python -m bench.collection

# full size; without --full only to see that it runs
bench-index: .venv/dev demo/bundle/bundle.json build/emoji/labels.csv
	$(bin)/python -m bench.indexing --full

build/%/labels.csv: | .venv/dev
	$(bin)/lookalike data $* --to build/$*

up: demo/bundle/bundle.json
	mkdir -p demo/collection
	$(eval compose := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose))
	RUN_AS=$$(id -u):$$(id -g) $(compose) run --rm reindex
	RUN_AS=$$(id -u):$$(id -g) $(compose) up

# the README's picture, taken by a test, of the demo that runs on port 8000
screenshot: .venv/dev
	LOOKALIKE_URL=http://localhost:8000 LOOKALIKE_SCREENSHOT=docs/screenshot.png \
	    $(bin)/python -m pytest tests/e2e/test_page.py -k finds_itself_first

clean:
	rm -rf build demo

demo/emoji/labels.csv: | .venv/train
	$(bin)/lookalike data emoji --to demo/emoji

demo/bundle/bundle.json: demo/emoji/labels.csv | .venv/train
	$(bin)/lookalike train --data demo/emoji --to demo/bundle --mask family --audit $(if $(wildcard demo/bundle.run/*.checkpoint),--resume)

.venv/train: pyproject.toml constraints.txt | .venv/bin/python
	$(pip_install) -e '.[train]'
	touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	$(pip_install) -e '.[train,dev]'
	touch $@ .venv/train

.venv/bin/python:
	$(PYTHON) -m venv .venv

# what a CPU server has: no torch
.venv-serve/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-serve
	.venv-serve/bin/pip install --disable-pip-version-check -q -c constraints.txt -e .
	touch $@
