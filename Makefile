# The front door. `make help` lists what there is.
.PHONY: help setup run check format test e2e kills ci fuzz bench bench-growth generate lock clean
.DEFAULT_GOAL := help

BIN := .venv/bin
LOCKED := $(BIN)/.locked
NODE := e2e/node/node_modules/.package-lock.json
CODE := server/src server/tests e2e fuzz benchmarks tools examples

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

setup: $(LOCKED) $(NODE) ## make .venv with the authserver command, and fetch what the tests need
	@tools/bootstrap.sh system

$(LOCKED): requirements.lock e2e/python/requirements.lock server/pyproject.toml tools/bootstrap.sh
	@tools/bootstrap.sh python
	@touch $@

$(NODE): e2e/node/package-lock.json $(LOCKED)
	@tools/bootstrap.sh node
	@touch $@

run: $(LOCKED) ## start the server, a demo MCP server and a first user; ctrl-C stops all
	@$(BIN)/authserver quickstart

check: $(LOCKED) ## format, lint, types, import rule, dependencies, generated files: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	cd server && ../$(BIN)/deptry src
	$(BIN)/python tools/generate.py --check

format: $(LOCKED) ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup ## every test: both databases, browser, Node; T=path for some
	@$(BIN)/python tools/run_tests.py $(T)

e2e: setup ## the end-to-end tests alone
	@$(BIN)/python tools/run_tests.py e2e

kills: setup ## kill -9 under load, fifty times on each database and fifty with two workers: six minutes
	@KILL_ROUNDS=$(or $(KILL_ROUNDS),50) $(BIN)/python tools/run_tests.py e2e/test_kill.py

ci: check test ## what a change must pass

fuzz: $(LOCKED) ## look for inputs that break a property, ten minutes for each target; T=target, SECONDS=n, DB=postgres
	@$(BIN)/python -m fuzz.run $(T) --seconds $(or $(SECONDS),600) $(if $(filter postgres,$(DB)),--postgres)

bench: $(LOCKED) ## every endpoint beside the floor and a peer: eight minutes, on a quiet machine; ARGS=--record keeps it
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-growth: $(LOCKED) ## the same on databases of a thousand to a million clients: half an hour; ARGS=--record keeps it
	@$(BIN)/python benchmarks/growth.py $(ARGS)

generate: $(LOCKED) ## write the generated reference pages again
	@$(BIN)/python tools/generate.py

lock: $(LOCKED) ## resolve the Python packages again; UPGRADE=--upgrade for newer versions of all
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE) \
	    server/pyproject.toml --extra quickstart --extra otel --group pyproject.toml:dev --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE) \
	    --no-deps --group pyproject.toml:mcp1 --output-file e2e/python/requirements.lock

clean: ## remove what setup and the tools made, but not ./data
	rm -rf .venv e2e/node/node_modules artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
