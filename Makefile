# Needs python3 (3.11 or later), make and, for the tests, node (20.19 or later) and npm. Everything else is created here,
# once: an environment holds exactly what its lock says, and is made anew when that changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := .venv-runtime
HOST ?= 127.0.0.1
PORT ?= 4437
CHAT_PORT ?= 4438
MODEL ?=
BASE_URL ?=
DATA_DIR ?= data
CRASH_ROUNDS ?= 200
FUZZ_EXAMPLES ?= 2000
CHAOS_SEED ?= 1
CHAOS_ROUNDS ?= 20
CHAOS_RUNS ?= 50
POWER ?=
PYTEST_ARGS ?=
BENCH ?=
STALL ?=
UPGRADE ?=

PYTHON_STAMP := $(VENV)/.installed
RUNTIME_STAMP := $(RUNTIME)/.installed
NODE_STAMP := tests/js/node_modules/.installed
AGENT_NODE_STAMP := tests/js-agents/node_modules/.installed
SDK_TESTS := tests/agents/test_cancellation.py tests/agents/sdks tests/agents/test_snippets.py::test_python_runs
SDK_STAMPS := .venv-sdks/.installed .venv-litellm/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve run local-model commands browser test test-sdks test-model bench bench-quick stall check lint format crash power-cuts stops agent-chaos fuzz \
	coverage installs lock clean environment python-environment npm-packages vendors-packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(RUNTIME_STAMP) ## start the server on HOST:PORT (127.0.0.1:4437), its streams in DATA_DIR (./data)
	@exec $(RUNTIME)/bin/durable-streams serve --host $(HOST) --port $(PORT) --data-dir $(DATA_DIR)

run: $(RUNTIME_STAMP) ## start server, adapter and, unless a key or BASE_URL names another, a local model; print the chat's address
	@$(if $(BASE_URL)$(OPENAI_API_KEY)$(OPENAI_BASE_URL)$(ANTHROPIC_API_KEY)$(ANTHROPIC_BASE_URL),true,scripts/ensure-local-model.sh $(RUNTIME)/bin/python --quietly-without)
	@exec $(RUNTIME)/bin/python scripts/run.py --host $(HOST) --port $(PORT) --chat-port $(CHAT_PORT) --data-dir $(DATA_DIR) \
		--model "$(MODEL)" --base-url "$(BASE_URL)"

local-model: $(RUNTIME_STAMP) ## install the local model that `make run` uses
	@scripts/ensure-local-model.sh $(RUNTIME)/bin/python

commands: ## install curl, node and npm where that needs no question
	@scripts/ensure-command.sh curl curl
	@scripts/ensure-command.sh node nodejs
	@scripts/ensure-command.sh npm npm
	@node scripts/ensure-node.mjs

browser: ## install Chromium where that needs no question; without it the browser tests are skipped
	@scripts/ensure-command.sh chromium chromium fonts-liberation || echo "The browser tests will be skipped." >&2

test: ## run every test: units, models, HTTP, conformance, 20 crash rounds, end to end; name what is under way
	+@scripts/run-tests.sh $(MAKE) $(BIN)/python $(PYTEST_ARGS)

test-sdks: $(SDK_STAMPS) ## drive the agents' sources through the vendors' packages, in two environments
	@.venv-sdks/bin/python -m pytest $(SDK_TESTS) -p no:cacheprovider -k "not litellm" -q
	@.venv-litellm/bin/python -m pytest $(SDK_TESTS) -p no:cacheprovider -k litellm -q

test-model: .venv-sdks/.installed ## a real language model end to end: streamed, stopped, seen to stop
	@if scripts/ensure-local-model.sh .venv-sdks/bin/python; then \
		.venv-sdks/bin/python -m pytest tests/model_e2e -p no:cacheprovider $(PYTEST_ARGS); \
	else echo "SKIPPED: the real model's tests"; fi

bench: $(PYTHON_STAMP) commands ## measure the server beside its peers, half an hour; BENCH="--only sse --rounds 5" for a part of it
	@bench/setup.sh $(PYTHON)
	@$(BIN)/python -m bench $(BENCH)

stall: $(PYTHON_STAMP) ## replay the attacks on the loop and print the longest turn under each; STALL="--scale 0.1 forks"
	@$(BIN)/python -m bench.stall $(STALL)

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

power-cuts: $(PYTHON_STAMP) ## record a real server's writes and cut its power in 10,000 ways; POWER="IMAGES SEED" for others
	@$(BIN)/python -m tests.power $(POWER)

stops: $(PYTHON_STAMP) ## 50 concurrent stops of an answer, 100 random schedules
	@STOP_SEEDS=100 $(BIN)/python -m pytest tests/agents/test_stops.py $(PYTEST_ARGS)

agent-chaos: $(PYTHON_STAMP) ## kill, freeze and misdate server and adapters under CHAOS_RUNS (50) runs, CHAOS_ROUNDS (20) rounds from CHAOS_SEED
	@CHAOS_SEED=$(CHAOS_SEED) CHAOS_ROUNDS=$(CHAOS_ROUNDS) CHAOS_RUNS=$(CHAOS_RUNS) \
		$(BIN)/python -m pytest tests/agents/test_chaos.py --log-cli-level=INFO $(PYTEST_ARGS)

fuzz: $(PYTHON_STAMP) ## FUZZ_EXAMPLES (2000) answers of models in forms no other run has drawn, per wire and property; minutes
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest tests/agents/test_fuzz.py $(PYTEST_ARGS)

installs: $(PYTHON_STAMP) ## install every lock for real, by three versions of pip, while newer packages are on offer; minutes
	@INSTALLS=complete $(BIN)/python -m pytest tests/installs --timeout=0 $(PYTEST_ARGS)

lock: .venv-uv/.installed commands ## write the exact versions into the locks; UPGRADE=1 takes the newest of everything
	@scripts/lock.sh .venv-uv/bin/uv $(if $(UPGRADE),--upgrade)

clean: ## remove environments, caches and reports; never ./data
	rm -rf $(VENV) .venv-* tests/js/node_modules tests/js-agents/node_modules artifacts build dist .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find durable_streams tests bench -name __pycache__ -prune -exec rm -rf {} +

environment: python-environment npm-packages vendors-packages browser ## only create what the other targets run in

python-environment: $(PYTHON_STAMP)

npm-packages: $(NODE_STAMP) $(AGENT_NODE_STAMP)

vendors-packages: $(SDK_STAMPS)

$(VENV)/.locked: requirements-dev.lock
$(RUNTIME)/.locked: requirements-runtime.lock
.venv-sdks/.installed: requirements-sdks.lock
.venv-litellm/.installed: requirements-litellm.lock
.venv-uv/.installed: requirements-uv.lock

$(VENV)/.locked $(RUNTIME)/.locked $(SDK_STAMPS) .venv-uv/.installed:
	@scripts/ensure-venv.sh $(PYTHON) $(@D)
	@echo "Installing $< into $(@D) ..."
	@scripts/install.sh $(@D)/bin/python $<
	@touch $@

$(PYTHON_STAMP) $(RUNTIME_STAMP): %/.installed: %/.locked pyproject.toml
	@scripts/install.sh $(@D)/bin/python .
	@touch $@

$(NODE_STAMP) $(AGENT_NODE_STAMP): %/node_modules/.installed: %/package.json %/package-lock.json | commands
	@echo "Installing the npm packages of $* ..."
	@cd $* && npm ci --loglevel=error --no-audit --no-fund
	@touch $@
