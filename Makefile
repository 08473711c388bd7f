# Every target installs what a fresh Debian or Ubuntu lacks (tests/setup.sh) and works from a clean clone.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/node/bin:$(HOME)/.cargo/bin:$(PATH)
export CARGO_TERM_COLOR ?= auto
NEXTEST := $(shell PATH="$(HOME)/.cargo/bin:$(PATH)" cargo nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: help demo test bench prove lint fmt build action clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Two jobs against a throw-away PostgreSQL, end to end (ONCE=1 for scripts)
	@tests/setup.sh
	cargo build --quiet --bin hoop-db
	@target/debug/hoop-db demo $(if $(ONCE),--once)

test: ## Format, lints, every test, the action's tests and bundle
	@tests/setup.sh test
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --bin hoop-db
	$(MAKE) --no-print-directory action
	$(if $(NEXTEST),cargo nextest run --workspace --no-fail-fast,cargo test --workspace --no-fail-fast)

action: ## The action: types, lint, tests, and that the bundle matches its source
	cd action && npm ci --no-audit --no-fund --silent && npm run --silent typecheck && npm run --silent lint \
		&& npm run --silent check-dist && npm run --silent test

bench: ## Direct, relay, PgBouncer and this proxy side by side; writes tests/bench/results/
	@tests/setup.sh bench
	cargo build --release --bin hoop-db -p hoop-db-access
	cargo build --release -p tests --bin bench
	target/release/bench

prove: ## The long, seeded proofs: kills, revokes, hostile tokens; prints the scorecard
	@tests/setup.sh test
	cargo build --bin hoop-db
	cargo run -p tests --bin prove

lint: ## Format and lints only
	@tests/setup.sh
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format the tree
	cargo fmt

build: ## The release binary
	@tests/setup.sh
	cargo build --release --bin hoop-db

clean: ## Remove what was built
	cargo clean
	rm -rf action/node_modules .tools
