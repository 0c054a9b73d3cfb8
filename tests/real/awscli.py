"""The AWS CLI version 2, each release in a system of its own, against a strict AWS whose clock is another."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from skewguard.testing import StrictEndpoint
from tests.real.need import need
from tests.support import completed

_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("awscli.sh")
_BUILT = Path(os.environ.get("AWSCLI_RELEASES", "~/.cache/skewguard-awscli")).expanduser()
START = "https://example.awsapps.com/start"
SMALL, LARGE = b"small", os.urandom(1 << 16) * 305
LOGIN = "arn:aws:iam::123456789012:user/me"

CONFIG = f"""
[default]
region = us-east-1

[profile role]
role_arn = arn:aws:iam::123456789012:role/r
credential_source = Environment

[profile sso]
sso_start_url = {START}
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = r

[profile login]
login_session = {LOGIN}
region = us-east-1
"""


class Host:
    """A user's home on a machine with one release of the CLI.

    Attributes:
        release: Debian's name for it.
        home: The user's home, made here, which is the current directory of every command.
        variables: The environment.
    """

    def __init__(self, release: str, home: Path, variables: dict[str, str]) -> None:
        need((_BUILT / release / "built").exists(), f"the AWS CLI of {release}", f"{_SCRIPT} build {_BUILT}")
        need(shutil.which("unshare") is not None, "unshare", "apt-get install -y util-linux")
        self.release, self.home = release, home
        home.mkdir()
        runtime = home / "run"
        runtime.mkdir(mode=0o700)
        self.variables = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "SKEWGUARD_SOURCES": "response",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            **variables,
        }

        apart = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
        self._within = [*apart, str(_SCRIPT), "run", str(_BUILT / release)]
        outside = home / "outside"
        outside.mkdir()
        (outside / "aws").write_text(f'#!/bin/sh\nexec {shlex.join(self._within)} /usr/bin/aws "$@"\n')
        (outside / "aws").chmod(0o755)

    def run(self, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a line of the shell."""
        return completed(*self._within, "sh", "-c", f"cd && {line}", env=self.variables | variables, cwd="/")

    def skewguard(self, *arguments: str, cwd: Path = _ROOT) -> subprocess.CompletedProcess[str]:
        """Run this project's own command, by this Python, for which this CLI is the one in PATH."""
        path = f"{self.home / 'outside'}:{self.variables['PATH']}"
        return completed(sys.executable, "-m", "skewguard", *arguments, env=self.variables | {"PATH": path}, cwd=cwd)

    def forget(self) -> None:
        """Remove what processes have told each other of the time."""
        for left in (self.home / "run").iterdir():
            shutil.rmtree(left)


def as_aws(aws: StrictEndpoint, proxy_url: str) -> dict[str, str]:
    """Return the variables of a program that takes a server, which has TLS, for AWS."""
    kwargs = aws.client_kwargs
    return {
        "HTTPS_PROXY": proxy_url,
        "AWS_CA_BUNDLE": str(aws.ca_bundle),
        "AWS_ACCESS_KEY_ID": str(kwargs["aws_access_key_id"]),
        "AWS_SECRET_ACCESS_KEY": str(kwargs["aws_secret_access_key"]),
    }


BY_CRT = "max_attempts = 3\ns3 =\n  preferred_transfer_client = crt\n"
"""The newest release's defaults, unless another process makes transfers at the same time."""


def furnish(home: Path, aws: StrictEndpoint, by_crt: bool = False) -> None:
    """Fill a home: the config file, the caches of SSO and `aws login`, whose credentials live, and files to copy."""
    aws_directory = home / ".aws"
    (aws_directory / "sso" / "cache").mkdir(parents=True)
    (aws_directory / "config").write_text(CONFIG.replace("\n\n", f"\n{BY_CRT}\n", 1) if by_crt else CONFIG)
    token = {"accessToken": "t", "startUrl": START, "region": "us-east-1", "expiresAt": _text(aws, 8 * 3600)}
    (aws_directory / "sso" / "cache" / f"{_sha1(START)}.json").write_text(json.dumps(token))
    (home / "small").write_bytes(SMALL)
    (home / "large").write_bytes(LARGE)
    (home / "many").mkdir()
    for number in range(50):
        (home / "many" / f"{number}").write_text(f"{number}")


def log_in(home: Path, aws: StrictEndpoint, lasts: float) -> Path:
    """Write what `aws login` leaves, with credentials that live for `lasts` s; return its path."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    token = {
        "accessToken": temporary(aws, "ASIAOLD", lasts) | {"accountId": "1", "expiresAt": _text(aws, lasts)},
        "refreshToken": "r",
        "clientId": "c",
        "dpopKey": pem,
    }
    path = home / ".aws" / "login" / "cache" / f"{hashlib.sha256(LOGIN.encode()).hexdigest()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(token))
    return path


def temporary(aws: StrictEndpoint, key: str, lasts: float) -> dict[str, str]:
    """Return credentials that the server accepts for so long."""
    aws.add_credentials(key, "secret", "token", int(aws.now() / 1e9 + lasts))
    return {"accessKeyId": key, "secretAccessKey": "secret", "sessionToken": "token"}


def _text(aws: StrictEndpoint, lasts: float) -> str:
    until = datetime.datetime.fromtimestamp(aws.now() / 1e9 + lasts, datetime.timezone.utc)
    return until.strftime("%Y-%m-%dT%H:%M:%SZ")


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
