"""A thousand cold calls at once on a host 20 minutes slow: how many fail, how many requests, how long.

Unguarded botocore fails there, so requests and time are held against it on a clock that is right.

python benchmarks/storms.py [--small]
"""

from __future__ import annotations

import common

PROGRAM = """
callers = int(sys.argv[3])
made = client("dynamodb", max_pool_connections=callers, retries={"mode": "standard"})
failed = []
start = threading.Barrier(callers + 1)

def call():
    start.wait()
    failed.append(fails(made.list_tables))

threads = [threading.Thread(target=call) for _ in range(callers)]
for thread in threads:
    thread.start()
began = time.perf_counter()
start.wait()
for thread in threads:
    thread.join()
print(json.dumps([sum(failed), time.perf_counter() - began]))
"""


def measure(small: bool) -> list[common.Row]:
    """Compare unguarded on the same wrong clock, unguarded on a right one, and guarded."""
    common.many_files()
    callers = 50 if small else 1000
    with common.aws() as wrong, common.aws(0) as right:
        (lost, _), _ = wrong.run(PROGRAM, "plain", callers)
        (_, seconds), count = right.run(PROGRAM, "plain", callers)
        (failed, took), requests = wrong.run(PROGRAM, "guarded", callers)
    return [
        common.Row(f"{callers} cold calls at once: failed", lost, failed, "calls", aim=0),
        common.Row("requests they took (botocore: on a right clock)", count, requests, aim=2),
        common.Row("until the last has succeeded (as above)", seconds, took, "s"),
    ]


if __name__ == "__main__":
    common.main(measure, __doc__)
