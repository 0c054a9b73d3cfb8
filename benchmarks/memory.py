"""What guarding costs in memory: a client that has signed once, against one in a process without skewguard.

Counted by tracemalloc, so it is the same on every run; what Python's own allocator wastes is not in it.

python benchmarks/memory.py [--small]
"""

from __future__ import annotations

import json
import subprocess
import sys

import common

PROGRAM = """
import gc, json, sys, tracemalloc
import botocore.session
from botocore.awsrequest import AWSRequest

mode, count = sys.argv[1], int(sys.argv[2])
if mode == "guarded":
    import skewguard
    skewguard.install()

session = botocore.session.Session()

def client():
    made = session.create_client("sts", region_name="us-east-1")
    request = AWSRequest("POST", "https://sts.us-east-1.amazonaws.com/", data={})
    request.context = {"client_config": made.meta.config}
    made._request_signer.sign("GetCallerIdentity", request)
    return made

kept = [client() for _ in range(5)]  # the models are read once
gc.collect()
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
kept += [client() for _ in range(count)]
gc.collect()
print(json.dumps((tracemalloc.get_traced_memory()[0] - before) / count))
"""


def measure(small: bool) -> list[common.Row]:
    """Count the bytes that each of many clients of one session takes."""
    count = 5 if small else 50
    found = {}
    for mode in ("plain", "guarded"):
        command = [sys.executable, "-c", PROGRAM, mode, str(count)]
        done = subprocess.run(command, env=common.environment(), stdout=subprocess.PIPE, text=True, check=True)
        found[mode] = json.loads(done.stdout)
    return [common.Row("memory of a client", found["plain"], found["guarded"], "bytes")]


if __name__ == "__main__":
    common.main(measure, __doc__)
