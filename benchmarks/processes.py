"""Twenty programs of one call each, one after the other, on a host 20 minutes slow: how many requests in all.

Other SDKs, which learn for themselves alone, make forty.

python benchmarks/processes.py [--small]
"""

from __future__ import annotations

import common

PROGRAM = """
print(json.dumps(fails(client().get_caller_identity)))
"""


def measure(small: bool) -> list[common.Row]:
    """Compare unguarded, each alone, sharing what they learn, and with a time source on the host."""
    programs = 3 if small else 20
    ways = {
        "unguarded": ("plain", "false"),
        "each for itself": ("guarded", "false"),
        "sharing": ("guarded", "true"),
        "with a local time source": ("source", "false"),
    }
    failed, requests = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)
    with common.aws() as aws:
        for way, (mode, share) in ways.items():
            for _ in range(programs):
                lost, count = aws.run(PROGRAM, mode, SKEWGUARD_SHARE=share)
                failed[way] += lost
                requests[way] += count
    alone = "each for itself"
    rows = [common.Row(f"{programs} one-call programs: failed", failed["unguarded"], failed["sharing"], "calls", aim=0)]
    for way, most in ((alone, 2 * programs), ("sharing", programs + 1), ("with a local time source", programs)):
        rows.append(common.Row(f"requests, {way}", requests["unguarded"], requests[way], aim=most / programs))
    return rows


if __name__ == "__main__":
    common.main(measure, __doc__)
