"""Threads, greenlets and subinterpreters, on a host 20 minutes slow: AWS is a server on loopback."""

from __future__ import annotations

import sys

import pytest

from skewguard.testing import StrictEndpoint
from tests.ntp_server import wall_server
from tests.real.need import installed
from tests.support import GREENLETS, TO_AWS, run_as_aws

pytestmark = pytest.mark.slow

LATE = 1200

CROWD = (
    GREENLETS
    + """
import json, threading
import boto3, skewguard
from botocore.config import Config
many, ntp = int(sys.argv[3]), sys.argv[4]
"""
    + TO_AWS
    + """
def call(client, start, failures):
    start.wait()
    try:
        client.get_caller_identity()
    except Exception as error:
        failures.append(repr(error))

def crowd(client):
    statuses, failures, start = [], [], threading.Barrier(many)
    def note(response_dict=None, exception=None, **_):
        statuses.append(response_dict["status_code"] if response_dict else repr(exception))
    client.meta.events.register("response-received", note, unique_id="note")
    threads = [threading.Thread(target=call, args=(client, start, failures)) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.meta.events.unregister("response-received", unique_id="note")
    return [failures, len(statuses) - statuses.count(200), statuses.count(200)]

def client():
    return boto3.session.Session().client("sts", config=Config(max_pool_connections=many))

with redirected(to_aws, {"no_proxy": "*"}):
    skewguard.install()
    sts = client()
    seen = [crowd(sts), crowd(sts)]
    skewguard.uninstall()
    skewguard.install(sources=[ntp], wait=10)
    seen.append(crowd(client()))
    left = [thread.name for thread in threading.enumerate() if "skewguard" in thread.name]
print(json.dumps([*seen, left]))
"""
)


@pytest.mark.parametrize(("kind", "many"), [("threads", 200), ("gevent", 50), ("eventlet", 50)])
def test_a_crowd(aws: StrictEndpoint, kind: str, many: int) -> None:
    """Each of many first calls is refused once at the most; later ones, or those after an NTP answer, never."""
    installed(*([] if kind == "threads" else [kind]))
    with wall_server(LATE) as ntp:
        first, second, third, left = run_as_aws(aws, CROWD, kind, str(many), f"ntp://127.0.0.1:{ntp.port}")
    failures, refused, read = first
    assert (failures, read) == ([], many)
    assert 1 <= refused <= many
    assert second == third == [[], 0, many]
    assert left == []


INSIDE = (
    """
import sys
sys.argv = {argv!r}
import json
import botocore.session, skewguard
"""
    + TO_AWS
    + """
statuses = []
with redirected(to_aws, {{"no_proxy": "*"}}):
    skewguard.install(sources=["ntp://127.0.0.1:9"])
    sts = botocore.session.Session().create_client("sts")
    note = lambda response_dict, **_: statuses.append(response_dict["status_code"])
    sts.meta.events.register("response-received", note)
    for _ in range(2):
        sts.get_caller_identity()
    asked = skewguard.measure(1).sources
    skewguard.uninstall()
print(json.dumps([statuses, asked[0].error]))
"""
)

SUBINTERPRETER = """
import sys
code, isolated = sys.argv[2].format(argv=sys.argv[:2]), sys.argv[3] == "True"
if sys.version_info < (3, 13):
    import _xxsubinterpreters as interpreters
    one = interpreters.create(isolated=isolated)
    interpreters.run_string(one, code)
else:
    import _interpreters as interpreters
    one = interpreters.create("isolated" if isolated else "legacy")
    failed = interpreters.exec(one, code)
    assert not failed, failed
interpreters.destroy(one)
"""


# 3.12's pyexpat, without which botocore reads no answer, cannot be imported in an isolated one.
@pytest.mark.parametrize("isolated", [False] if sys.version_info[:2] == (3, 12) else [False, True])
def test_a_subinterpreter_is_guarded_for_itself(
    aws: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, isolated: bool
) -> None:
    """Its first call is refused, no later one. In an isolated one, sources are not asked in the background."""
    monkeypatch.setenv("BOTO_DISABLE_CRT", "true")  # awscrt hangs in any but the main interpreter
    statuses, error = run_as_aws(aws, SUBINTERPRETER, INSIDE, str(isolated))
    assert statuses == [403, 200, 200]
    assert ("can start no thread" in error) == isolated
