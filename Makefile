# Targets print themselves: `make` or `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup jars demo test lint types bench beside found memory overload scaling moves pipes plans prediction policy spatial audit dashboards docs chaos soak mutants wheel up down clean

VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null)

# Written by `make setup` where Kafka runs in Docker: names that broker to every target.
-include .broker.mk

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.locked jars ## make .venv with the locked versions, fetch Kafka's jars

$(VENV)/bin/python:
ifneq ($(UV),)
	$(UV) venv -q --python '>=3.11,<3.14' $(VENV)
else
	@python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "make setup needs python3 to be 3.11, 3.12 or 3.13 (or uv): $$(python3 -V)" >&2; exit 2; }
	python3 -m venv $(VENV)
endif

$(VENV)/.locked: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked packages into $(VENV) (a minute or two) ..."
ifneq ($(UV),)
	$(UV) pip install -q --python $(PYTHON) -r requirements.lock
	$(UV) pip install -q --python $(PYTHON) --no-deps --no-build-isolation -e .
else
	$(PYTHON) -m pip install -q --disable-pip-version-check -r requirements.lock
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

jars: $(VENV)/.locked
	@if [ -n "$${PCT_BROKER:-}" ]; then echo "Kafka: $$PCT_BROKER (PCT_BROKER)"; \
	elif $(PYTHON) -m pctstream.jars; then :; \
	elif docker info >/dev/null 2>&1; then \
	  echo "no local broker, so Kafka runs in Docker on 127.0.0.1:9092 (make down ends it)"; \
	  docker compose up -d --wait broker; \
	  echo 'export PCT_BROKER ?= 127.0.0.1:9092' > .broker.mk; \
	else exit 3; fi

demo: setup ## the whole system on real data, with a self-check (exit code tells)
	@$(PYTHON) -m pctstream.demo

test: setup lint types ## every check and every test, real broker included
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.locked ## ruff, formatting, who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/.locked ## mypy --strict
	$(VENV)/bin/mypy

$(VENV)-bench/.locked: requirements-bench.lock | $(VENV)/.locked
	@echo "installing the peers of the benchmark into $(VENV)-bench ..."
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

bench: setup $(VENV)-bench/.locked ## every figure beside its floor or peer in the same run, the bars, the pictures of the README (90 minutes)
	$(PYTHON) benchmarks/bench.py $(ARGS)

beside: setup $(VENV)-bench/.locked ## searches beside hnswlib, usearch, lancedb, milvus-lite, mlpack; what HTTP adds (an hour)
	PYTHONPATH=tests $(PYTHON) benchmarks/beside.py $(ARGS)
	PYTHONPATH=tests $(PYTHON) benchmarks/asked.py

moves: setup ## what a move costs those who write, and whether its throttle holds
	$(PYTHON) benchmarks/moves.py $(ARGS)

memory: setup ## what a worker takes of memory, also when it is overrun (half an hour)
	$(PYTHON) benchmarks/memory.py $(ARGS)

overload: setup ## 3 x what can be taken for five minutes, searched all along, nothing lost (half an hour)
	$(PYTHON) benchmarks/overload.py $(ARGS)

found: setup ## 1,000 questions of a whole system against brute force, also while rows come, portions move, a worker dies
	PYTHONPATH=tests $(PYTHON) benchmarks/found.py $(ARGS)

scaling: setup ## rows/s and memory at 100,000 to 5,000,000 rows, at 10 to 1,000 portions (half an hour)
	$(PYTHON) benchmarks/scaling.py $(ARGS)

pipes: setup ## what 64 and 500 child pipes cost, and the cap (two minutes)
	$(PYTHON) benchmarks/pipes.py $(ARGS)

plans: setup ## 200 plans against the true optimum, and large ones timed (ten minutes)
	PYTHONPATH=tests/core $(PYTHON) benchmarks/plans.py $(ARGS)

prediction: setup ## the policy with and without forecasts, on hot spots, simulated (three minutes)
	$(PYTHON) benchmarks/prediction.py $(ARGS)

policy: setup ## the policy by itself on a real broker: a stream that stays, and one that ramps (seven minutes)
	$(PYTHON) benchmarks/policy.py $(ARGS)

spatial: setup ## a million rows with places through a whole system, all the time brute force's answers (six minutes)
	PYTHONPATH=tests $(PYTHON) benchmarks/places_live.py $(ARGS)

audit: ## known vulnerabilities of the locked packages (needs the JSON API of pypi.org)
	@test -x $(VENV)-audit/bin/pip-audit || { python3 -m venv $(VENV)-audit && \
	  $(VENV)-audit/bin/pip install -q --disable-pip-version-check pip-audit==2.10.1; }
	$(VENV)-audit/bin/pip-audit -r requirements.lock --require-hashes --disable-pip --strict --progress-spinner off

dashboards: setup ## Prometheus on what make up runs; without it, all of it in Docker
	@if command -v prometheus >/dev/null || ! docker info >/dev/null 2>&1; then \
	  $(PYTHON) dashboards/local.py $(ARGS); \
	else \
	  make --no-print-directory secrets/token; \
	  docker compose up -d --build; \
	  echo "Grafana on http://127.0.0.1:3000, workers on 8800 and 8801 (the token is in secrets/token)"; \
	  echo "docker compose down ends it and keeps the volumes"; \
	fi

# What the workers in docker-compose.yml want to be shown. Readable for the users in the containers,
# on this machine for nobody else, since the directory is closed.
secrets/token:
	@mkdir -p -m 700 secrets
	@(umask 022; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > $@)

docs: setup ## print the reference from the code, write the dashboards; a site of it where mkdocs is
	$(PYTHON) docs/generate.py
	$(PYTHON) dashboards/boards.py
	@if command -v mkdocs >/dev/null; then mkdocs build --strict; fi

chaos: setup ## every fault on a real broker, 100,000 rows (docs/reliability.md), then the kill tests more often, a tree that lives meanwhile, 50 moves, outages, 100,000 changes of ids
	PYTHONPATH=tests $(PYTHON) -m chaos $(ARGS)
	PCT_KILLS=9 $(VENV)/bin/pytest tests/broker/test_kill.py tests/broker/test_storm.py --timeout=1200
	PCT_MOVES=50/5 $(VENV)/bin/pytest tests/broker/test_moves.py -k whoever_dies --timeout=3600
	PCT_OUTAGES="kill:0 stop:20 kill:20 stop:3 kill:5 stop:20" $(VENV)/bin/pytest tests/broker/test_faults.py \
	  -k goes_away --timeout=1200
	PCT_IDS=100000 $(VENV)/bin/pytest tests/broker/test_ids.py --timeout=1800

soak: setup ## a kill every two minutes for SECONDS (four hours), until something does not hold; then all is saved
	PYTHONPATH=tests $(PYTHON) -m chaos --soak $(or $(SECONDS),14400) $(ARGS)

mutants: setup ## break the product in known ways: the tests must notice
	@cd tests && PYTHONPATH=. ../$(PYTHON) -m sim.mutants

wheel: setup ## the wheel alone in an empty environment runs the whole system (five minutes, from the registry)
	$(PYTHON) .ci/wheel.py $(ARGS)

up: setup ## a broker, the topics and two workers, until Ctrl-C
	$(VENV)/bin/pctstream up $(ARGS)

down: ## end the broker that setup started in Docker
	@if [ -f .broker.mk ]; then docker compose down; rm -f .broker.mk; \
	else echo "nothing to end: what make up started ends with it (Ctrl-C)"; fi

clean: ## remove what make made (not data directories, not the jars in the user's cache)
	rm -rf $(VENV) $(VENV)-bench build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
