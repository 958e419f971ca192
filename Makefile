.DEFAULT_GOAL := help
.PHONY: help run test quick fuzz simulate lint format bench chaos constraints clean

PYTHON ?= python3
BIN := .venv/bin
USABLE := 'import pip, sys; sys.exit(sys.version_info < (3, 11))'

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/for-run ## Install into .venv and run the gateway (without a KEEPA_API_KEY: on the simulator)
	@if [ -z "$$KEEPA_API_KEY" ] && ! grep -qsE '^ *(export +)?KEEPA_API_KEY *= *[^ ]' .env; then \
		echo "*** No KEEPA_API_KEY: running on the built-in SIMULATOR, all data is made up. ***"; \
		export KEEPA_BASE_URL=simulator; \
	fi; \
	exec $(BIN)/keepa-gateway serve

# Four at a time, also on two cores: most of them wait for processes and for time to pass.
test: .venv/for-test ## Install into .venv and run all tests
	$(BIN)/pytest -n 4 --dist loadfile --durations=10

quick: .venv/for-test ## Install into .venv and run the unit tests and the ledger's without Redis
	$(BIN)/pytest -n 3 --dist loadfile tests/unit tests/ledger --quick

fuzz: .venv/for-test ## Try what nobody thought of, a minute for each property (SECONDS=60)
	$(BIN)/pytest tests/fuzz --fuzz-seconds $(or $(SECONDS),60)

# One after the other: SEED=1 HOURS=24 PROFILE=mixed; a failing one is told by its seed, made small.
simulate: .venv/for-test ## Play the whole fleet on virtual time, with everything that fails (HOURS=1)
	PYTHONPATH=tests $(BIN)/python -m simulation --seed $(or $(SEED),1) --hours $(or $(HOURS),1) \
		--profile $(or $(PROFILE),mixed)

lint: .venv/for-test ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd client && ../$(BIN)/lint-imports

format: .venv/for-test ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/for-test ## Measure what the budget costs, as ratios to a bare proxy (needs redis-server)
	PYTHONPATH=tests $(BIN)/python -m bench

chaos: .venv/for-test ## Cross every fault with every kind of call (needs redis-server; some minutes)
	$(BIN)/pytest tests/chaos --chaos=full -rP

# Pins of what the image installs and of what builds the gateway there.
pin = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command 'make constraints' --upgrade

constraints: ## Pin what the image installs, with hashes (needs uv)
	$(pin) pyproject.toml -o deploy/constraints.txt
	echo 'hatchling>=1.27' | $(pin) - -o deploy/constraints-build.txt

clean: ## Remove what make made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

# One environment, filled as far as the goal needs it; a change of pyproject.toml fills it anew.
.venv/for-run: pyproject.toml
	@$(BIN)/python -c $(USABLE) 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/for-test: pyproject.toml
	@$(BIN)/python -c $(USABLE) 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/for-run
