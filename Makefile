# Every command of the project; `make` alone lists them. All but `help` and `clean` run the setup first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo up down test test-unit test-long test-external test-cluster lint chaos soak proto bench-collect bench-control bench-dashboard bench-idle bench-lake bench-latency bench-streams soak-streams clean screenshots

BIN := .venv/bin
FAILURES := .pytest_cache/failures.txt

help: ## List the commands
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-15s %s\n", $$1, $$2 }'

setup: ## Install the Python packages and download the engines (resumable, cached)
	@scripts/setup

demo: setup ## Run the whole pipeline against the replay market; Ctrl-C stops everything
	@$(BIN)/cryptoviz demo

up: setup ## Run the whole pipeline against the live providers (keyless, or keys from .env)
	@$(BIN)/cryptoviz up

down: setup ## Stop the pipeline that `make up` or `make demo` started
	@$(BIN)/cryptoviz down --yes

# Most tests wait for engines, so three files run in parallel; tests marked `alone` use both cores and run afterwards. (With a space instead of `=`,
# pytest takes a file that exists for the tests to run.)
test: ## Run the tests: unit, integration with the real engines, browser, one round of the short chaos tests
	@scripts/setup --test
	@failed=0; rm -f $(FAILURES); \
	$(BIN)/python -m pytest --failures-to=$(FAILURES) --durations 10 -n 3 --dist loadfile --no-loadscope-reorder -m "not alone and not long and not external and not cluster" || failed=1; \
	$(BIN)/python -m pytest --failures-to=$(FAILURES) --durations 10 -m "alone and not long and (short or not chaos)" || failed=1; \
	if [ $$failed = 1 ]; then echo "Failures of both parts:"; cat $(FAILURES); fi; \
	exit $$failed

test-unit: ## Run the unit tests only (seconds)
	@scripts/setup --dev
	@$(BIN)/python -m pytest tests/unit

lint: ## Check style, types, import layers, the control contract and its generated code
	@scripts/setup --dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint proto
	@$(BIN)/buf breaking proto --against proto_released
	@scripts/proto --check

test-long: ## Run the tests that take minutes: placement on several nodes, added partitions, a home of odd names, long loops of readers
	@scripts/setup --test
	@$(BIN)/python -m pytest --durations 10 -m long

test-external: ## Run the tests of the pipeline with a Kafka, S3 and Redis that the project does not start (10 minutes)
	@scripts/setup --test
	@scripts/external-engines
	@$(BIN)/python -m pytest --external-engines tests/external tests/integration/test_pipeline.py

chaos: ## Run all fault injection tests, three rounds of each fault (CRYPTOVIZ_TEST_ROUNDS, CRYPTOVIZ_TEST_SEED)
	@scripts/setup --test
	@CRYPTOVIZ_TEST_ROUNDS=$${CRYPTOVIZ_TEST_ROUNDS:-3} $(BIN)/python -m pytest -s -m chaos

soak: ## Run the whole demo under random faults of all kinds, then compare all rows and the use of memory, descriptors and files (MINUTES=60, SEED)
	@scripts/setup --test
	@$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

test-cluster: ## Run `ray up cluster.yaml` on hosts made of namespaces, with killed hosts (root; 12 minutes on two cores)
	@scripts/setup --cluster
	@$(BIN)/python -m pytest -s --durations 10 -m cluster tests/cluster

proto: ## Regenerate the gRPC code from proto/
	@scripts/setup --dev
	@scripts/proto

bench-collect: setup ## Measure 10 000 assets per tick on one core, and latency from response to Kafka's acknowledgement
	@$(BIN)/python -m bench.collect

bench-control: ## Measure the control service: calls in a flood, at 200 a second, restart of the controller, stop (8 minutes)
	@scripts/setup --test
	@$(BIN)/python -m bench.control

bench-dashboard: ## Measure the page: first price, bytes by file, processor time of a build; frame times of scrolling; latency and memory at 10 and 100 sessions (11 min)
	@scripts/setup --test
	@$(BIN)/python -m bench.dashboard
	@$(BIN)/python -m bench.dashboard.scroll
	@$(BIN)/python -m bench.dashboard.sessions

screenshots: ## Take the pictures of all pages of a running pipeline anew (URL=http://127.0.0.1:5006); streams on, some minutes after its start
	@scripts/setup --test
	@$(BIN)/python -m bench.screenshots $(or $(URL),http://127.0.0.1:5006)

bench-latency: ## Measure provider-to-page and Kafka-to-lake latency, and memory (12 minutes)
	@scripts/setup --test
	@$(BIN)/python -m bench.latency

bench-idle: ## Measure processor time, memory and writes by process, start, recovery and stop (20 minutes)
	@scripts/setup --test
	@$(BIN)/python -m bench.idle

bench-lake: setup ## Measure the lake against alternative designs; PARTS="query size" selects parts
	@$(BIN)/python -m bench.lake $(if $(PARTS),--only $(PARTS))

bench-streams: ## Measure trade streams: 5 000 trades a second over 60 instruments with all engines, a burst of 50 000, losses, memory (SECONDS=300; 9 minutes)
	@scripts/setup --test
	@$(BIN)/python -m bench.streams --seconds $(or $(SECONDS),300)

soak-streams: ## Run trade streams against a market that misbehaves at random, then compare all trades, gaps and candles (MINUTES=30, SEED)
	@scripts/setup --test
	@$(BIN)/python -m bench.stream_soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

clean: ## Remove the environment and all tool caches in this directory; engines and data stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist test-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
