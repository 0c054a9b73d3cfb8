#!/usr/bin/env bash
# Test what is published: dist.sh DIST [PYTEST_ARGS...]. DIST holds a wheel and an sdist; the wheel is installed in an
# environment of its own and tested with the sdist's tests, where neither the checkout nor the sdist's package is in reach.
set -euo pipefail
dist=$(realpath "$1")
shift
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
tar -xzf "$dist"/*.tar.gz -C "$unpacked" --strip-components 1
cd "$unpacked"
rm -r skewguard skewguard_pytest.py
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1'
.venv/bin/python -m pip --disable-pip-version-check --quiet install "$dist"/*.whl --group tests
.venv/bin/python -m pytest --import-mode=importlib "$@"
