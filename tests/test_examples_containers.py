"""The Dockerfile and the Kubernetes manifest: as far as they can run without Docker and a cluster."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from skewguard.config import resolve
from skewguard.testing import StrictEndpoint
from tests.ntp_server import wall_server
from tests.pages import ROOT
from tests.real.faketime import FakeTime
from tests.real.need import need
from tests.support import completed

DOCKERFILE = (ROOT / "examples" / "docker" / "Dockerfile").read_text("utf-8")
MANIFEST = list(yaml.safe_load_all((ROOT / "examples" / "kubernetes" / "deployment.yaml").read_text("utf-8")))


def instructions() -> dict[str, str]:
    """Parse the Dockerfile's instructions; those that are there once."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M)).splitlines()
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines if line)}


@pytest.mark.parametrize("document", MANIFEST, ids=lambda one: one["kind"])
def test_the_manifest_is_valid(document: dict[str, Any]) -> None:
    """By Kubernetes's own schemas, strictly: no unknown field."""
    need(
        importlib.util.find_spec("kubernetes_validate") is not None, "kubernetes-validate", "pip install --group tests"
    )
    import kubernetes_validate

    kubernetes_validate.validate(document, "1.33", strict=True)
    wrong = json.loads(json.dumps(document).replace('"volumeMounts"', '"volumeMount"'))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_the_manifest_does_what_the_page_says() -> None:
    """ClockBound is mounted read-only, where its source looks for it; the sources are ones that skewguard knows."""
    deployment, daemons = (one["spec"]["template"]["spec"] for one in MANIFEST)
    [app] = deployment["containers"]
    [mount] = app["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/var/run/clockbound", True)
    for pod in (deployment, daemons):
        [variable] = pod["containers"][0]["env"]
        assert resolve({}, environ={variable["name"]: variable["value"]}).sources
    assert app["readinessProbe"]["exec"]["command"] == json.loads(instructions()["HEALTHCHECK"].partition("CMD ")[2])


@pytest.mark.slow
def test_the_image_runs(tmp_path: Path) -> None:
    """Entry point and command, as Docker joins them, on a clock that is 20 minutes slow; and the health check."""
    steps = instructions()
    command = json.loads(steps["ENTRYPOINT"]) + json.loads(steps["CMD"])
    check = json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    (tmp_path / "app.py").write_text((ROOT / "examples" / "docker" / "app.py").read_text("utf-8"), "utf-8")
    with StrictEndpoint() as aws, wall_server() as server, FakeTime(tmp_path, "-20m") as clock:
        keys = {name.upper(): str(aws.client_kwargs[name]) for name in ("aws_access_key_id", "aws_secret_access_key")}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = clock.env(**keys, PATH=path, AWS_ENDPOINT_URL=aws.url, SKEWGUARD_SOURCES=server.uri)
        done = completed(*command, cwd=tmp_path, env=environment)
        assert done.stdout == "arn:aws:iam::123456789012:user/test\n", done.stderr
        assert completed(*check, env=environment).returncode == 2
        clock.shift("-2m")  # a warning, which must not fail the check
        assert completed(*check, env=environment).returncode == 0
        silent = clock.env(PATH=path, SKEWGUARD_SOURCES="chrony:/nonexistent")
        assert completed(*check, env=silent).returncode == 0
