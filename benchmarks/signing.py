"""What guarding costs: signing, and a whole call, against processes in which skewguard was never installed.

Two child processes live side by side, one guarded, one not, and are measured in turn, in short rounds, so that a
machine whose speed drifts drifts for both. Where a process's memory happens to lie makes a percent or two, so this is
done with several pairs of processes. Printed are the median of the pairs' median ratios, their range, and the
difference in microseconds; absolute times mean little on a shared machine.

    python benchmarks/signing.py [--pairs 8] [--rounds 80]
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIGNINGS_A_ROUND = 100
CALLS_A_ROUND = 15
FIGURES = (("sign", "RequestSigner.sign", 1.06), ("call", "a whole loopback call", 1.02))


def _signing_round() -> Callable[[], float]:
    """Make a function that times the signing of fresh requests, as `RequestSigner` does it for every API call."""
    import botocore.session
    from botocore.awsrequest import AWSRequest

    client = botocore.session.get_session().create_client("sts", region_name="us-east-1")
    body = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}

    def fresh() -> Any:
        request = AWSRequest("POST", "https://sts.us-east-1.amazonaws.com/", data=body)
        request.context = {"client_config": client.meta.config}
        return request

    def run() -> float:
        sign = client._request_signer.sign
        requests = [fresh() for _ in range(SIGNINGS_A_ROUND)]
        start = time.thread_time()  # signing waits for nothing: its own time on the processor is its time
        for request in requests:
            sign("GetCallerIdentity", request)
        return (time.thread_time() - start) / SIGNINGS_A_ROUND

    return run


def _call_round(url: str) -> Callable[[], float]:
    """Make a function that times whole API calls over loopback, without Nagle's delay."""
    import botocore.session
    import urllib3.connection

    # The host's clock and the server's agree: the call is healthy, and its Date is heard.
    options = urllib3.connection.HTTPConnection.default_socket_options
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
    client = botocore.session.get_session().create_client("sts", region_name="us-east-1", endpoint_url=url)
    call = client.get_caller_identity

    def run() -> float:
        start = time.thread_time()  # without the time spent waiting for the server, so the ratio is the stricter
        for _ in range(CALLS_A_ROUND):
            call()
        return (time.thread_time() - start) / CALLS_A_ROUND

    return run


def child(mode: str, url: str) -> None:
    """Answer every line on standard input with one round's two times."""
    if mode == "guarded":
        import skewguard

        skewguard.install()
    runs = {"sign": _signing_round(), "call": _call_round(url)}
    for run in runs.values():
        run()
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        sys.stdout.write(f"{runs[line.strip()]()!r}\n")
        sys.stdout.flush()


class Child:
    """One measured process."""

    def __init__(self, mode: str, url: str) -> None:
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", mode, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def measure(self, what: str) -> float:
        """Have one round run."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    """Be the server: one fixed healthy answer with a fresh Date, as cheaply as possible, in a process of its own."""
    from email.utils import formatdate

    body = (
        b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>"
        b"</GetCallerIdentityResponse>"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    import threading

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        with connection:
            while chunk := connection.recv(65_536):
                data += chunk
                head, separator, rest = data.partition(b"\r\n\r\n")
                if not separator:
                    continue
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(rest) < length:
                    continue
                data = rest[length:]
                date = formatdate(usegmt=True).encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s"
                    % (date, len(body), body)
                )

    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


Sample = tuple[float, float]  # guarded, plain; seconds


def compare(url: str, rounds: int) -> dict[str, list[Sample]]:
    """Measure one pair of processes, in turn; the order within a round alternates."""
    guarded, plain = Child("guarded", url), Child("plain", url)
    samples: dict[str, list[Sample]] = {what: [] for what, _, _ in FIGURES}
    try:
        for what, found in samples.items():
            for index in range(rounds):
                order = (guarded, plain) if index % 2 else (plain, guarded)
                taken = {one: one.measure(what) for one in order}
                found.append((taken[guarded], taken[plain]))
    finally:
        guarded.end()
        plain.end()
    return samples


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of processes, each laid out in memory anew")
    parser.add_argument("--rounds", type=int, default=80, help="rounds for each pair")
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        pairs = [compare(url, options.rounds) for _ in range(options.pairs)]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    print(f"{'':24}{'ratio':>8}{'pairs, low to high':>22}{'added':>12}{'aim':>8}")
    for what, title, aim in FIGURES:
        ratios = sorted(statistics.median(guarded / plain for guarded, plain in pair[what]) for pair in pairs)
        added = statistics.median(guarded - plain for pair in pairs for guarded, plain in pair[what])
        spread = f"{ratios[0]:.3f} .. {ratios[-1]:.3f}"
        print(f"{title:24}{statistics.median(ratios):8.3f}{spread:>22}{added * 1e6:9.2f} us{aim:8.2f}")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(*sys.argv[2:4])
    elif "--serve" in sys.argv:
        serve()
    else:
        main()
