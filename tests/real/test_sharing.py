"""Programs on clocks that are really wrong, one after the other: what one learned, the next one knows."""

from __future__ import annotations

import json

from skewguard.timekeeping import shared_file
from tests.real.faketime import FakeTime
from tests.real.servers import BUCKET, KEY, Server

ONE_CALL = """
import json, sys
import boto3, skewguard
from botocore.config import Config
from tests.real.servers import counted

skewguard.install()
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, proxies={}))
seen = counted(s3)
s3.get_object(Bucket=sys.argv[1], Key=sys.argv[2])["Body"].read()
print(json.dumps([seen, skewguard.status().inherited]))
"""


def call(fake_time: FakeTime, server: Server, **env: str) -> tuple[int, bool]:
    """Run the program; return how many requests it took, and whether its estimate was still another's at the end."""
    done = fake_time.run(ONE_CALL, BUCKET, KEY, env=server.environment() | {"SKEWGUARD_SHARE": "true"} | env)
    seen, inherited = json.loads(done.stdout)
    return len(seen), bool(inherited)


def test_steps_between_programs_cost_nothing(fake_time: FakeTime, ministack: Server) -> None:
    """Twenty minutes slow, two hours slow, an hour fast, right: only the first request of the first is refused."""
    fake_time.shift("-20m")
    assert call(fake_time, ministack)[0] == 2
    for shift in ("-20m", "-2h", "+1h", "+0"):
        fake_time.shift(shift)
        assert call(fake_time, ministack)[0] == 1


TAG = """
from skewguard.errors import StoreError
from skewguard.timekeeping.shared_file import tag
try:
    print(tag())
except StoreError as error:
    print(error)
"""


def test_a_process_with_another_steady_clock_shares_nothing(fake_time: FakeTime) -> None:
    """A library that moves the monotonic clocks too would make minutes of what is a moment for others."""
    fake_time.shift("-20m")
    assert fake_time.run(TAG).stdout.strip() == shared_file.tag()
    moved = {"DONT_FAKE_MONOTONIC": "0", "FAKETIME_FORCE_MONOTONIC_FIX": "1"}
    assert "other clocks" in fake_time.run(TAG, env=moved).stdout
