"""The web frameworks' examples, run by their own servers on a clock 20 minutes slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contrib_apps import READ, REFUSED, with_and_without
from tests.real.need import installed

pytestmark = pytest.mark.slow

WEB = {
    "flask": ("flask_app.py", "clock.init_app(app)", "flask --app flask_app run --port 0"),
    "fastapi": ("fastapi_app.py", "lifespan=lifespan()", "uvicorn --port 0 --no-use-colors fastapi_app:app"),
}


@pytest.mark.parametrize("framework", WEB)
def test_the_example_reads_from_s3_and_without_its_line_does_not(framework: str, tmp_path: Path) -> None:
    """One request is refused and retried; without the line, the same page is an error."""
    file, line, written = WEB[framework]
    command = written.split()
    installed(framework, command[0])
    with with_and_without(tmp_path, file, line) as (guarded, unguarded):
        children = [run.start(*command) for run in (guarded, unguarded)]
        assert children[0].ask() == (200, '"a photo"' if framework == "fastapi" else "a photo")
        assert children[1].ask()[0] == 500
        assert guarded.outcomes == [REFUSED, READ]
        assert unguarded.outcomes == [REFUSED]


def test_djangos_example_stores_reads_and_mails_and_without_its_line_does_not(tmp_path: Path) -> None:
    """django-storages, boto3 and django-ses; only the first call takes one request more."""
    installed("django", "storages", "django_ses")
    line = '"skewguard.contrib.django",'
    with with_and_without(tmp_path, "django_site/photos/settings.py", line) as (guarded, unguarded):
        serve = ["manage.py", "runserver", "--noreload", "127.0.0.1:0"]
        run = [(one.directory.parent, one) for one in (guarded, unguarded)]
        children = [one._replace(directory=directory).start(*serve) for directory, one in run]
        assert children[0].ask() == (200, "a photo, 1 mail\n")
        assert children[1].ask()[0] == 500
        assert guarded.outcomes == [
            ("PUT", "s3", "RequestTimeTooSkewed"),
            ("PUT", "s3", ""),
            ("GET", "s3", ""),
            ("POST", "ses", ""),
        ]
        assert unguarded.outcomes == [("PUT", "s3", "RequestTimeTooSkewed")]
