# Everything a developer or a new user runs. `make help` lists it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Stock Fluvio clients, which the tests of our protocol talk to.
STOCK  := .stock/.installed
# A control plane of Kubernetes, which the tests of managed connectors run against.
KUBERNETES := .kubernetes/controlplane
# Cases for clients of WebSockets.
AUTOBAHN := .autobahn/.interpreter

# Without them the tests of proxies, HTTP/3, Digest and Kerberos are skipped.
SERVERS := nginx-light caddy squid microsocks dante-server apache2 libapache2-mod-auth-gssapi krb5-kdc krb5-admin-server krb5-user

.DEFAULT_GOAL := help
.PHONY: help stock kubernetes autobahn servers demo test test-long check lint types contracts coverage minimal docs bench constraints clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Headwater needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating the environment in $(VENV) (once) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[kubernetes,testing]' --group dev
	@touch $@

$(STOCK): tests/stock/install.py $(STAMP)
	@$(BIN)/python tests/stock/install.py .stock
	@touch $@

stock: $(STOCK) ## fetch the stock Fluvio clients that tests talk to

# Without it - on a machine without Go, or before it was asked for - the tests that need it are skipped.
$(KUBERNETES): tests/kubernetes/build.py $(wildcard tests/kubernetes/controlplane/*)
	@$(PYTHON) tests/kubernetes/build.py .kubernetes

kubernetes: $(KUBERNETES) ## build the Kubernetes that tests run against (needs Go; minutes, once)

# The same without Python 2.7, which it is written in.
$(AUTOBAHN): tests/autobahn/install.py tests/autobahn/requirements.txt
	@$(PYTHON) tests/autobahn/install.py .autobahn

autobahn: $(AUTOBAHN) ## install the Autobahn test-suite for WebSockets (needs Python 2.7)

# RUNLEVEL: Debian starts none of them by itself; each test starts its own.
servers: ## install the servers and proxies that tests talk to (Debian's packages, as root)
	@dpkg-query -W $(SERVERS) >/dev/null 2>&1 || { export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 $(SERVERS) >/dev/null; }

demo: $(STAMP) ## poll a sample API into a topic and print the records
	@$(BIN)/headwater demo

# Four at once on two cores: many tests wait for processes that they have started. Whoever has no more of its own takes
# others' tests, for those of the command line, which are the longest, stand together. Bytecode is kept whatever the
# environment says: otherwise each of the many processes compiles all that it imports.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP) $(STOCK) ## run all tests (less than three minutes on two cores)
	$(BIN)/pytest -n 4 --dist worksteal -m 'not long'

# Those of the image share an engine, in one process. Those of the command line that `make test` runs in processes that
# are forked are run once more, in processes that are started anew.
test-long: export PYTHONDONTWRITEBYTECODE =
test-long: $(STAMP) $(STOCK) ## run the long campaigns: kills, floods, the image, and the command line started anew
	$(BIN)/pytest -n auto -m long --ignore=tests/container
	HEADWATER_TEST_FRESH=1 $(BIN)/pytest -n 4 --dist worksteal -m 'not long' tests/e2e tests/test_docs.py tests/test_docs_init.py
	$(BIN)/pytest -m long tests/container

lint: $(STAMP) ## style and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## strict types on sources and tests
	$(BIN)/mypy

contracts: $(STAMP) ## layers import downwards only
	$(BIN)/lint-imports

check: lint types contracts test ## all of the above

# Left out are tests of processes of their own, and those whose hundreds of asynchronous exceptions CPython 3.11 does not survive while it is traced.
coverage: $(STAMP) $(STOCK) ## branch coverage of everything but the command line: at least 95 %
	$(BIN)/coverage erase
	HYPOTHESIS_PROFILE=thorough $(BIN)/coverage run -m pytest -q -m 'not long' --ignore=tests/e2e --ignore=tests/kubernetes --ignore=tests/container -k 'not many_limits'
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --fail-under=95 \
		--include='src/headwater/core/*,src/headwater/fluvio/*,src/headwater/config/*,src/headwater/sources/*,src/headwater/fetch/*,src/headwater/log/*,src/headwater/engine/*,src/headwater/transforms/*,src/headwater/cluster/*,src/headwater/profile/*,src/headwater/server/*,src/headwater/control/*,src/headwater/discover/*,src/headwater/recording/*'

minimal: ## install without extras into a fresh environment, and run the main job there
	@rm -rf .minimal-venv && $(PYTHON) -m venv .minimal-venv
	@.minimal-venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	@.minimal-venv/bin/headwater demo -n 2
	@! .minimal-venv/bin/python -c 'import trustme' 2>/dev/null
	@rm -rf .minimal-venv

docs: $(STAMP) ## write the reference page from the source
	$(BIN)/python -m headwater.config.reference > docs/configuration.md

bench: $(STAMP) $(STOCK) ## measure; prints a table and writes bench/results.json
	$(BIN)/python -m bench

constraints: ## pin the newest versions into constraints.txt
	@rm -rf .constraints-venv && $(PYTHON) -m venv .constraints-venv
	@.constraints-venv/bin/pip install --quiet --upgrade pip
	@.constraints-venv/bin/pip install --quiet '.[kubernetes,testing]' --group dev
	@{ echo "# Exact versions of everything that make installs; made by 'make constraints'. Names and versions only."; \
	   .constraints-venv/bin/pip freeze | grep -v '^headwater'; } > constraints.txt
	@rm -rf .constraints-venv

clean: ## remove the environment and all caches
	rm -rf $(VENV) .stock .kubernetes .autobahn .minimal-venv .constraints-venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
