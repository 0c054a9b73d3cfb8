"""What guarding costs: signing, and a whole call, against processes in which skewguard was never installed.

Three child processes live side by side on one processor, one guarded and two not, and are measured in turn, in rounds
of a few milliseconds, so that a machine whose speed drifts drifts for all. The second plain one is the control: its
ratio to the first says how far any of the ratios can be trusted. Where a process's memory happens to lie makes a
percent or two, so all this is done with many sets of processes. Printed are the median of the sets' ratios, where the
middle half of them lies, and the difference in microseconds; absolute times mean little on a shared machine.

    python benchmarks/signing.py [--sets 25] [--rounds 80]
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import common

SIGNINGS_A_ROUND = 40
CALLS_A_ROUND = 6
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

    def __init__(self, mode: str, url: str, shared: str) -> None:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",  # the same dictionaries in every process
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SKEWGUARD_SOURCES": "response",  # nothing is sent off this machine
            "XDG_RUNTIME_DIR": shared,  # and nothing heard from this user's programs, nor told to them
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", mode, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        pin(self.process.pid, 0)

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


def pin(pid: int, which: int) -> None:
    """Keep a process on one of this one's processors, where the platform can."""
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {processors[which % len(processors)]})


MODES = ("plain", "guarded", "control")
Times = dict[str, list[float]]  # of each mode, by round; seconds


def compare(url: str, rounds: int, shared: str) -> dict[str, Times]:
    """Measure one set of processes, in turn; who begins a round alternates."""
    children = {mode: Child(mode, url, shared) for mode in MODES}
    times: dict[str, Times] = {what: {mode: [] for mode in MODES} for what, _, _ in FIGURES}
    try:
        for what, found in times.items():
            for index in range(rounds):
                start = index % len(MODES)
                for mode in MODES[start:] + MODES[:start]:
                    found[mode].append(children[mode].measure(what))
    finally:
        for child_process in children.values():
            child_process.end()
    return times


def ratio(times: Times, mode: str) -> float:
    """Answer the median, over the rounds, of a mode's time over that of the plain process beside it."""
    return statistics.median(one / plain for one, plain in zip(times[mode], times["plain"], strict=True))


def sets_of(count: int, rounds: int) -> list[dict[str, Times]]:
    """Measure so many sets, against one server."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    pin(server.pid, 1)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        with tempfile.TemporaryDirectory() as shared:
            return [compare(url, rounds, shared) for _ in range(count)]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def measure(small: bool) -> list[common.Row]:
    """Answer the report's rows: the plain process's median, and that times the median ratio."""
    rows = []
    sets = sets_of(1, 6) if small else sets_of(15, 40)
    for what, title, aim in FIGURES:
        plain = statistics.median(one for times in sets for one in times[what]["plain"]) * 1e6
        more = statistics.median(ratio(times[what], "guarded") for times in sets)
        rows.append(common.Row(title, plain, plain * more, "µs", aim))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sets", type=int, default=25, help="sets of processes, each laid out in memory anew")
    parser.add_argument("--rounds", type=int, default=80, help="rounds for each set")
    options = parser.parse_args()
    sets = sets_of(options.sets, options.rounds)
    print(f"{'':34}{'ratio':>8}{'middle half':>18}{'added':>12}{'aim':>8}")
    for what, title, aim in FIGURES:
        for mode in MODES[1:]:
            ratios = sorted(ratio(times[what], mode) for times in sets)
            added = statistics.median(
                one - plain
                for times in sets
                for one, plain in zip(times[what][mode], times[what]["plain"], strict=True)
            )
            middle = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios
            spread = f"{middle[0]:.3f} .. {middle[-1]:.3f}"
            goal = f"{aim:8.2f}" if mode == "guarded" else ""
            print(f"{title + ', ' + mode:34}{statistics.median(ratios):8.3f}{spread:>18}{added * 1e6:9.2f} us{goal}")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(*sys.argv[2:4])
    elif "--serve" in sys.argv:
        serve()
    else:
        main()
