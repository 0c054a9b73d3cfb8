"""A first call on a host 20 minutes slow: how many requests and how long until it has succeeded.

Unguarded botocore never succeeds there, so the time is held against its first call on a clock that is right.

    python benchmarks/recovery.py [--small]
"""

from __future__ import annotations

import statistics

import common

CALLS = {"sts": "get_caller_identity", "s3": "list_buckets", "dynamodb": "list_tables"}
GIVE_UP = 5  # calls

PROGRAM = """
made = client(sys.argv[3])
call = getattr(made, sys.argv[4])
start = time.perf_counter()
failed = 0
while failed < int(sys.argv[5]) and fails(call):
    failed += 1
print(json.dumps([failed, time.perf_counter() - start]))
"""


def measure(small: bool) -> list[common.Row]:
    """Run the programs, in turn."""
    rows = []
    runs = 1 if small else 9
    with common.aws() as wrong, common.aws(0) as right:
        for service, operation in list(CALLS.items())[: 1 if small else None]:
            call = (service, operation, GIVE_UP)
            (failed, _), _ = wrong.run(PROGRAM, "plain", *call)
            never = None if failed == GIVE_UP else float(failed)
            times: dict[str, list[float]] = {"plain": [], "guarded": []}
            requests = []
            for _ in range(runs):
                for mode, server in (("plain", right), ("guarded", wrong)):
                    (failed, seconds), count = server.run(PROGRAM, mode, *call)
                    times[mode].append(seconds * 1000)
                    if mode == "guarded":
                        requests.append(count if not failed else float("inf"))
            plain, guarded = (statistics.median(found) for found in times.values())
            rows.append(common.Row(f"{service}: requests until the first success", never, max(requests), aim=2))
            rows.append(common.Row(f"{service}: until then (botocore: on a right clock)", plain, guarded, "ms"))
    return rows


if __name__ == "__main__":
    common.main(measure, __doc__)
