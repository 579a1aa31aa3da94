# Two commands for a newcomer: `make demo`, `make test`. Needs Python >= 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
export PIP_CONSTRAINT := constraints.txt
# Tests start hundreds of processes; none of them compiles again what another one has.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: bench bench-quick bench-start bench-profile demo test test-matrix prove prove-tls check constraints docs soak fuzz hashes audit picture clean

demo: $(VENV)/installed ## kill an upload with SIGKILL, watch it resume and end in READY
	$(BIN)/uploader demo

# Many tests wait for a process or a clock: three at a time keep two cores busy.
WORKERS := 3
# What measures seconds runs alone; the files that have such tests, so that no other is loaded.
TIMED = $(shell grep -rl 'mark[.]timed' tests --include='test_*.py')

test: $(VENV)/installed-dev ## every test but the long ones, and a sample of many similar cases; ten to twenty minutes on two cores
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not long and not timed"
	$(BIN)/pytest -n 0 -m "timed and not long" $(TIMED)

test-matrix: ## the quick tests under each Python from 3.11 to 3.14 that is found; fetches none
	.ci/matrix

PART ?= 1/1
prove: $(VENV)/installed-dev ## the long tests, and the cases that `make test` leaves out: every crash point, every fault; an eighth of them: make prove PART=1/8
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "long and not timed" --part $(PART)
	$(BIN)/pytest -n 0 -m "timed and long" --part $(PART) $(TIMED)

prove-tls: $(VENV)/installed-dev ## every test of real sockets, over TLS only
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --tls -m "not timed"
	$(BIN)/pytest -n 0 --tls -m timed $(TIMED)

check: $(VENV)/installed-dev ## lint, format, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("error: uploader needs Python 3.11 or newer\nhint: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install pip

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --group dev
	@touch $@

constraints: ## the newest versions that work together
	rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT= $(PIP) install --upgrade pip
	PIP_CONSTRAINT= $(PIP) install --editable . --group dev
	(sed -n 1p constraints.txt; $(BIN)/pip freeze --all --exclude-editable | grep -v ' @ ' | sort -f) > constraints.new
	mv constraints.new constraints.txt

docs: $(VENV)/installed-dev ## the pages and tables that are generated from the code
	$(BIN)/python -m tests.docs

picture: $(VENV)/installed ## the picture in the README, from a real run: docs/upload.svg
	$(BIN)/python -m tests.picture

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build

$(VENV)/installed-bench: $(VENV)/installed-dev
	$(PIP) install --group bench
	@touch $@

bench: $(VENV)/installed-bench ## uploader beside curl and others, twenty minutes or so: writes bench/RESULTS.md
	$(BIN)/python -m compileall -q uploader # as an installed package is
	$(BIN)/python -m bench

bench-quick: $(VENV)/installed-bench ## the same in short, at most two minutes: writes .cache/bench/RESULTS.md
	$(BIN)/python -m compileall -q uploader
	$(BIN)/python -m bench --set quick --rounds 3 --out .cache/bench

bench-profile: $(VENV)/installed-dev ## where the CPU goes, by Linux's perf, five minutes or so: writes bench/PROFILE.md
	$(BIN)/python -m compileall -q uploader
	$(BIN)/python -m bench.profile

bench-start: $(VENV)/installed-bench ## what starting, going on and waiting cost: writes bench/START.md
	$(BIN)/python -m compileall -q uploader
	$(BIN)/python -m bench.start

MINUTES ?= 10
SEED ?= 1
soak: $(VENV)/installed-dev ## real processes, killed and cut off for minutes: make soak MINUTES=10 SEED=1
	$(BIN)/python -m tests.soak.soak --minutes $(MINUTES) --seed $(SEED)

fuzz: $(VENV)/installed-dev ## random input for every parser, for minutes: make fuzz MINUTES=10 SEED=1
	$(BIN)/python -m tests.fuzz.fuzz --minutes $(MINUTES) --seed $(SEED)

WHEELS := $(VENV)/wheels
hashes: $(VENV)/bin/python ## the hashes of those versions and of what builds the wheel, for this Python
	rm -rf $(WHEELS)
	$(PIP) download --only-binary :all: --dest $(WHEELS) -r constraints.txt hatchling editables
	(sed -n 1p constraints-hashes.txt; cd $(WHEELS) && sha256sum *.whl | awk '{ split($$2, part, "-"); \
		gsub("_", "-", part[1]); print tolower(part[1]) "==" part[2] " --hash=sha256:" $$1 }' \
		| sort) > constraints-hashes.new
	mv constraints-hashes.new constraints-hashes.txt

audit: ## the pinned versions against the published advisories; needs the network
	rm -rf $(VENV)-audit && $(PYTHON) -m venv $(VENV)-audit
	PIP_CONSTRAINT= $(VENV)-audit/bin/pip --quiet --disable-pip-version-check install pip-audit
	$(VENV)-audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt; \
		found=$$?; rm -rf $(VENV)-audit; exit $$found
