# The commands of a developer's day. `make` alone lists them; each installs what it needs and is not there yet.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run deb test test-integrations test-security check coverage mutants fuzz bench bench-storm bench-scale bench-report bench-micro instructions instructions-micro docs fmt clean

# dev: built in half the time; release: what is to be deployed, and the only one to measure.
PROFILE ?= release

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

run: ## Build the server and start it on port 8003 (PROFILE=dev builds in half the time)
	@.ci/install run
	@. .ci/env && exec cargo run --locked --profile $(PROFILE) --package auth-server --bin auth-service -- serve

deb: ## Build the release program and a Debian package of it, in target/
	@.ci/install run
	@. .ci/env && cargo build --locked --release --package auth-server --bin auth-service && \
		deploy/debian/build "$$target/release/auth-service" "$$target"

test: ## Run every test
	@.ci/install test integrations
	@.ci/test

test-integrations: ## Run the suites of the packages under integrations/, and walk through the migration
	@integrations/test

test-security: ## Try every threat of tests/threats.toml against the built server, at full figures; a table
	@.ci/install security
	@.ci/security

check: ## Format, lints, documentation, dependencies, spelling
	@.ci/install check
	@.ci/check

coverage: ## Run every test and fail under 90 % of lines
	@.ci/install coverage
	@.ci/coverage

mutants: ## Mutate the whole domain crate and compare the survivors with .ci/mutants-accepted.txt
	@.ci/install mutants
	@.ci/mutants

fuzz: ## Fuzz each parser for FUZZ_SECONDS (60), or by FUZZ_RUNS inputs
	@.ci/install fuzz
	@.ci/fuzz

bench: ## Measure the server beside this machine's own signing speed (ARGS="--help" for all that can be measured)
	@.ci/install bench
	@. .ci/env && cargo build --locked --release --package auth-server --bin auth-service && \
		exec cargo run --locked --release --package auth-e2e --bin bench -- $(ARGS)

bench-storm: ## Measure what a flood of sign-ins does to refreshes and the key set; fails past twice the quiet p99
	@$(MAKE) --no-print-directory bench ARGS='storm --strict $(ARGS)'

bench-scale: ## Measure one to three instances over one PostgreSQL, and what a refresh costs the database
	@$(MAKE) --no-print-directory bench ARGS='instances $(ARGS)'

bench-report: ## Write goals, figures and plots of docs/performance/*.json into docs/PERFORMANCE.md
	@.ci/install run
	@. .ci/env && cargo run --locked --package auth-e2e --bin bench -- report

bench-micro: ## Measure rules, tokens and sessions by themselves (ARGS="rotate" for those of that name)
	@.ci/install run
	@. .ci/env && exec cargo bench --locked --package auth-domain --package auth-jwt --package auth-storage \
		--bench rules --bench tokens --bench sessions -- $(ARGS)

instructions: ## Count the instructions of a refresh, and its signatures; fails where they pass .ci/instructions.json
	@.ci/install instructions
	@. .ci/env && exec .ci/instructions $(ARGS)

instructions-micro: ## Count the instructions of what bench-micro measures, each by itself
	@.ci/install instructions
	@. .ci/env && exec .ci/instructions-micro $(ARGS)

docs: ## Write docs/openapi.json from the code, and the code's own documentation under target/doc
	@.ci/install run
	@. .ci/env && cargo run --locked --package auth-server --bin auth-service -- openapi > docs/openapi.json.new && \
		mv docs/openapi.json.new docs/openapi.json && cargo doc --locked --workspace --no-deps

fmt: ## Format the code
	@.ci/install run
	@. .ci/env && cargo fmt --all

clean: ## Delete what was built (not the data of a server)
	@. .ci/env && cargo clean && rm -rf mutants.out* coverage tests/fuzz/target tests/fuzz/artifacts tests/fuzz/corpus-live
