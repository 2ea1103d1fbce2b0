# Everything a person does with this repository, by name. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test unit loom clients browser conformance differential simulate fuzz sanitize coverage check docs lists audit deb rpm dist package-test rpm-test container-test bench instructions hitratio torture crash growth cache-lines scale-out fmt clean

PORT ?= 11211
MEMORY ?= 64
LENGTH ?= 10
# memcached refuses to run as root unless told which user to be.
AS_ROOT := $(if $(filter 0,$(shell id -u)),-u root)
RESULTS := .cache/results

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the optimised server, target/release/oxcached
	@cargo build --release

run: build ## build and start the server on port 11211 (PORT=, MEMORY= in MiB, ARGS= for more options)
	@echo
	@echo "Starting oxcached on port $(PORT), with $(MEMORY) MiB for items. Talk to it from another terminal:"
	@echo
	@echo "    printf 'set greeting 0 60 5\\r\\nhello\\r\\nget greeting\\r\\nquit\\r\\n' | nc localhost $(PORT)"
	@echo
	@echo "Control-C stops it."
	@exec target/release/oxcached $(AS_ROOT) -p $(PORT) -m $(MEMORY) $(ARGS)

test: unit loom clients browser conformance ## every test: Rust, real clients, a browser, memcached's own test files

# What a store with handles of 40 bits must do as any other.
LONG_TESTS = engine::idle engine::model engine::mover engine::policy engine::reads engine::stress engine::strides engine::magazines regression:: split::

# The same code again: not optimized, it is built in a third of the time.
LONG_BUILD = --features long-handles --config profile.dev.package.oxcached.opt-level=0

unit: ## the Rust tests alone
	@mkdir -p $(RESULTS)
	cargo test --no-fail-fast 2>&1 | tee $(RESULTS)/unit
	cargo test --no-fail-fast --package xtask 2>&1 | tee -a $(RESULTS)/unit
	cargo test --no-fail-fast $(LONG_BUILD) --lib 2>&1 | tee -a $(RESULTS)/unit
	cargo test --no-fail-fast $(LONG_BUILD) --test it -- $(LONG_TESTS) 2>&1 | tee -a $(RESULTS)/unit

loom: ## the store's protocols between threads, in every interleaving
	@mkdir -p $(RESULTS)
	RUSTFLAGS="--cfg loom_models" CARGO_PROFILE_RELEASE_LTO=off cargo test --release --target-dir target/loom \
		--config profile.release.package.libsqlite3-sys.opt-level=0 --test loom 2>&1 | \
		tee $(RESULTS)/loom

clients: build ## real clients in seven languages against the server
	@scripts/clients

browser: build ## the dashboard in a browser, against a server under load
	@scripts/browser

conformance: ## memcached's own test files against the server (MEMCACHED_SRC= for a source tree)
	@scripts/conformance

differential: build ## random commands to oxcached and memcached, compared (MEMCACHED_BIN=, DIFF_SECONDS=, DIFF_ONLY=)
	@DIFF_SECONDS=$${DIFF_SECONDS:-60} cargo test --release --test differential -- --nocapture

simulate: ## random interleavings of the whole server in one thread (FOR= seconds, SEED=, STEPS=)
	@FOR=$${FOR:-60} cargo test --quiet --test simulate -- --nocapture

fuzz: ## every fuzz target for FUZZ_SECONDS (60; FUZZ_TARGETS= for some of them)
	@scripts/fuzz

sanitize: ## threads, sockets and memory under AddressSanitizer and ThreadSanitizer
	@scripts/sanitize

coverage: ## lines of store, cache and proto that the simulation and the tests run
	@scripts/coverage simulate
	@scripts/coverage tests

check: ## formatting, lints, documentation, the house rules and the dependencies
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet --all-targets --features count-lines,debug-commands,lock-times,long-handles -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --document-private-items
	cargo test --quiet --test tidy
	cargo run --quiet --package xtask -- --check
	@scripts/audit --check

docs: ## write the manual pages and shell completions, which are made from the option table
	@cargo run --quiet --package xtask

lists: ## write the lists in docs/ that are made from the sources: limits, unsafe sites
	WRITE_LISTS=1 cargo test --quiet --test tidy up_to_date

audit: ## licences, origins and advisories of the dependencies, by cargo-deny
	@scripts/audit

deb: ## packages for Debian, in target/packages
	@scripts/package deb

rpm: ## packages for RPM, in target/packages
	@scripts/package rpm

dist: ## a static program in an archive, and the checksums, in target/packages
	@scripts/package dist

package-test: deb ## the Debian packages in a fresh Debian: from memcached to oxcached and back (SUITE=)
	@scripts/package-test $(SUITE)

rpm-test: rpm ## the RPM packages in a fresh root: installed, run, updated and removed
	@scripts/rpm-test

container-test: build ## the image of Containerfile, without a container engine
	@scripts/container-test

scale-out: build ## three servers behind clients and proxies, one of them killed or stalled (SCALE_SECONDS=)
	@scripts/scale-out

bench: build instructions ## every load beside memcached, on an idle machine: writes docs/benchmarks.md (scripts/bench for a part)
	@mkdir -p $(RESULTS)
	@scripts/bench --all --json $(RESULTS)/bench.json
	@scripts/hitratio --seconds $(LENGTH) --json $(RESULTS)/hitratio.json
	@scripts/bench page $(RESULTS)/bench.json $(RESULTS)/hitratio.json

instructions: build ## instructions an operation by callgrind, beside memcached's and the kept figures
	@scripts/bench instructions

hitratio: build ## misses of memcached and oxcached at equal memory (FILTER=, LENGTH=, or TRACE=, MEMORY=)
	@scripts/hitratio --filter "$(FILTER)" --seconds $(LENGTH) --memory $(MEMORY) $(TRACE)

crash: build ## kills a server with a durable copy, and compares (CRASH_ROUNDS=, CRASH_DURABILITY=)
	@cargo bench --quiet --bench crash

torture: build ## chores and hostile clients beside a load that checks each value (TORTURE_SECONDS=)
	@scripts/torture

growth: build ## the pauses while GROW_ITEMS items come, and how long chores hold locks
	@scripts/torture growth
	@cargo bench --quiet --target-dir target/lock-times --features lock-times --bench holds

cache-lines: ## shared cache lines that an operation of the store writes
	@cargo bench --quiet --profile dev --target-dir target/count-lines --features count-lines --bench store

fmt: ## format the code
	cargo fmt --all

clean: ## remove what was built and fetched
	rm -rf target fuzz/target .cache
