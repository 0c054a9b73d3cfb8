"""``python -m skewguard.testing``: serve a strict endpoint, and print the environment in which AWS is that endpoint.

Another program can then try a wrong clock without an AWS account:

    eval "$(python -m skewguard.testing --offset 1200 &)"

stdout is closed once the lines are printed, because a shell's ``$(...)`` waits for that.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from skewguard.testing.endpoint import StrictEndpoint
from skewguard.testing.ntp import TimeServer

BUCKET, KEY, PHOTO = "bucket", "photo", b"a photo"
"""The object that S3 has from the start; the examples read it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until an interrupt or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m skewguard.testing",
        description="Serve a strict endpoint on loopback, with an NTP server, and print the environment that uses it.",
        epilog='In a shell: eval "$(python -m skewguard.testing --offset 1200 &)"; later: kill $STRICT_ENDPOINT_PID',
    )
    parser.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="how far the servers' clock is ahead of this host's, s"
    )
    parser.add_argument(
        "--tls", action="store_true", help="serve https; needs trustme: pip install 'skewguard[testing]'"
    )
    options = parser.parse_args(arguments)
    try:
        with StrictEndpoint(offset=options.offset, tls=options.tls) as endpoint:
            _serve(endpoint)
    except ImportError as error:
        parser.error(f"--tls needs a package: {error}")
    return 0


def _serve(endpoint: StrictEndpoint) -> None:
    ended = threading.Event()
    for name in ("SIGINT", "SIGTERM"):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background processes outlive its Ctrl-C
            signal.signal(number, lambda *_: ended.set())
    endpoint.put_object(BUCKET, KEY, PHOTO)
    time_server = TimeServer(endpoint.now)
    try:
        terminal = sys.stdout.isatty()
        print("\n".join(lines(endpoint, time_server.uri, os.environ)), flush=True)
        if terminal:
            print("# Paste these lines into another terminal. Ctrl-C ends the server.", file=sys.stderr)
        else:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        while not ended.wait(1.0):  # on Windows, a wait without end cannot be interrupted
            pass
    finally:
        time_server.close()


def lines(endpoint: StrictEndpoint, source: str, environ: Mapping[str, str]) -> list[str]:
    """Return the lines of shell that make a running server AWS, and an NTP server the source of true time."""
    arguments = endpoint.client_kwargs
    variables = {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": arguments["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": arguments["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": arguments["region_name"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "SKEWGUARD_SOURCES": source,
        "SKEWGUARD_SHARE": "false",  # no other program may learn this server's time
        "STRICT_ENDPOINT_PID": str(os.getpid()),
    }
    if endpoint.ca_bundle is not None:
        variables["AWS_CA_BUNDLE"] = endpoint.ca_bundle
    if any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in environ):
        variables |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    # They would choose other credentials, or another endpoint.
    left = [
        name for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") if name in environ
    ]
    return [*exports, *([f"unset {' '.join(left)}"] if left else [])]


if __name__ == "__main__":
    sys.exit(main())
