# Each target sets up what it needs. python3 -m venv and pip are enough; uv is used where it is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
BUILDGRID := 0.4.4
BOLD := $(if $(MAKE_TERMOUT),\033[1m)
PLAIN := $(if $(MAKE_TERMOUT),\033[0m)
say = @printf '$(BOLD)%s$(PLAIN)\n' '$(1)'

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage lint gen gen-check api-check api-accept migration bench bench-files bench-objects bench-records scale growth soak faults fuzz peers clean

help: ## list the targets
	@printf 'Quartet. Start with $(BOLD)make demo$(PLAIN) or $(BOLD)make test$(PLAIN); each sets up what it needs.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  $(BOLD)%-13s$(PLAIN) %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## create .venv with everything that the other targets need

$(VENV)/.ready: pyproject.toml uv.lock
	$(call say,setting up $(VENV) (once; a minute or so))
	@if command -v uv >/dev/null 2>&1; then uv sync --frozen --quiet; else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x")' && \
	  { [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python .ci/requirements.py $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . -r $(VENV)/dev.txt -c $(VENV)/pins.txt; fi
	@touch $@

demo: setup ## three nodes, a real tree imported while the leader is killed, every entry compared on every node
	@$(BIN)/python -m quartet_server.demo $(ARGS)

test: setup ## run every test; what cannot run here is skipped with its reason (T="paths or options")
	$(BIN)/python -m pytest -n $(JOBS) $(T)

coverage: setup ## how much of raftmeta its tests reach; fails below 90 %
	$(BIN)/python -m pytest -n $(JOBS) -q -m 'not slow' --cov=raftmeta --cov-fail-under=90 tests/raftmeta tests/metastore tests/ops

lint: setup ## ruff, mypy --strict and buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy raftmeta services clients tests benchmarks protos/gen.py .ci/requirements.py
	$(BIN)/python protos/gen.py lint

gen: setup ## generate the Python stubs from protos/
	$(BIN)/python protos/gen.py stubs

gen-check: setup ## fail unless the committed stubs and the committed API image are what protos/ say
	$(BIN)/python protos/gen.py check

api-check: setup ## fail if protos/ break a client of the committed API image
	$(BIN)/python protos/gen.py breaking

api-accept: setup ## make the present API the committed image: deliberately, after api-check
	$(BIN)/python protos/gen.py accept

faults: setup ## ten minutes of faults against real clusters, every answer judged (SEED=n DURATION=seconds)
	@PYTHONPATH=tests $(BIN)/python -m faults $(if $(SEED),--seed $(SEED)) --duration $(or $(DURATION),600) $(ARGS)

migration: setup ## write the next revision of a database from its schema (DB=events NAME=what_it_does TABLES="only these")
	$(BIN)/python -m quartet_server.records.revising $(DB) $(NAME) $(TABLES)
	$(BIN)/ruff format --quiet services/quartet_server/$(DB)/migrations
	PYTHONPATH=tests $(BIN)/python -m harness.ddl

fuzz: setup ## hostile bytes to every port and file for as long as asked (SEED=n DURATION=seconds)
	FUZZ_SEED=$(or $(SEED),1) FUZZ_SECONDS=$(or $(DURATION),600) $(BIN)/python -m pytest tests/fuzz $(ARGS)

bench: setup peers ## measure the Metastore beside real etcd, ten minutes (ARGS="--quick")
	$(BIN)/python benchmarks/meta.py $(ARGS)

bench-files: setup peers ## measure trees of files beside etcd, Redis and the file system, eight minutes (ARGS="--quick")
	$(BIN)/python benchmarks/files.py $(ARGS)

bench-objects: setup peers ## measure stores of blobs beside BuildGrid, four minutes (ARGS="--quick")
	$(BIN)/python benchmarks/objects.py $(ARGS)

bench-records: setup peers ## measure the ledger of events beside SQLite and PostgreSQL alone (ARGS="--quick")
	$(BIN)/python benchmarks/records.py $(ARGS)

scale: setup peers ## measure stores of a million keys beside real etcd: memory, disk, snapshots, restarts (ARGS="--quick")
	$(BIN)/python benchmarks/scale.py $(ARGS)

growth: setup peers ## measure how costs grow with keys, members and values, beside real etcd (ARGS="--quick")
	$(BIN)/python benchmarks/growth.py $(ARGS)

soak: setup peers ## twenty minutes of moderate load: memory, files, log and latency must be flat (ARGS="--seconds 60")
	$(BIN)/python benchmarks/soak.py $(ARGS)

peers: .peers/usr/bin/etcd .peers/usr/bin/promtool .peers/usr/bin/redis-server .peers/buildgrid/bin/bgd ## fetch etcd, Prometheus and Redis from Debian and BuildGrid from PyPI into .peers/, to compare with; starts no service

.peers/usr/bin/etcd: PACKAGE = etcd-server
.peers/usr/bin/etcdctl: PACKAGE = etcd-client
.peers/usr/bin/promtool: PACKAGE = prometheus
.peers/usr/bin/redis-server: PACKAGE = redis-server redis-tools libjemalloc2 liblzf1 libatomic1
.peers/usr/bin/%:
	$(call say,fetching from Debian: $(PACKAGE))
	@command -v apt-get >/dev/null || { echo 'peers come from Debian: elsewhere put etcd, prometheus, promtool and redis-server on PATH yourself'; exit 1; }
	@mkdir -p .peers
	@cd .peers && get() { apt-get download -q -o APT::Sandbox::User=$$(id -un) $(PACKAGE) >/dev/null; } && \
	  { get 2>/dev/null || { [ "$$(id -u)" != 0 ] || apt-get update -qq; get; }; } && \
	  for one in $(PACKAGE); do dpkg-deb -x $${one}_*.deb . && rm $${one}_*.deb || exit 1; done && touch usr/bin/$*

# In an environment of its own: its messages bear the names of ours, and a process has one pool of them.
.peers/buildgrid/bin/bgd:
	$(call say,fetching BuildGrid $(BUILDGRID))
	@mkdir -p .peers && rm -rf .peers/buildgrid && $(PYTHON) -m venv .peers/buildgrid
	@.peers/buildgrid/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: buildgrid==$(BUILDGRID) \
	  || { rm -rf .peers/buildgrid; exit 1; }

clean: ## remove what the other targets made, .venv and .peers included
	rm -rf $(VENV) .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
