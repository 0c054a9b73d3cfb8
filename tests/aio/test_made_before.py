"""aiobotocore's clients and sessions that were made before `install` are guarded from their next signing on."""

from __future__ import annotations

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

import skewguard
from skewguard.signing.patches.signers import WHO
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.aio.support import client, code_of, each_way
from tests.fakes import FakeSource
from tests.support import signed_at


@each_way
@pytest.mark.parametrize("offset", [1200.0, -1200.0])
async def test_the_first_call_takes_one_retry_and_the_next_none(way: str, offset: float) -> None:
    """Those of a client, and of a session's later client; all is as before after `uninstall`."""
    with StrictEndpoint(offset=offset) as endpoint:
        session = AioSession()
        async with client("sts", endpoint, way) as sts, client("sts", endpoint, way) as exempt:
            skewguard.detach(exempt)
            with skewguard.install():
                await sts.get_caller_identity()
                assert endpoint.count == 2
                await sts.get_caller_identity()
                assert endpoint.count == 3
                assert len(await sts.meta.events.emit(WHO)) == 1
                endpoint.clear()
                assert await code_of(exempt.get_caller_identity())
                assert endpoint.count == 1
            assert await code_of(sts.get_caller_identity())
            endpoint.clear()
        with skewguard.install():
            async with client("sts", endpoint, way, session) as later:
                await later.get_caller_identity()
                assert endpoint.count == 2


async def test_what_is_handed_out_is_dated_by_true_time(endpoint: StrictEndpoint) -> None:
    """The first URL and the first form included."""
    kwargs = {**endpoint.client_kwargs, "endpoint_url": "https://s3.us-east-1.amazonaws.com"}
    for kind in ("url", "form"):
        async with AioSession().create_client("s3", **kwargs, config=AioConfig(signature_version="s3v4")) as s3:
            with skewguard.install(sources=[FakeSource(offset=7200)]):
                if kind == "url":
                    url = await s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
                    made = signed_at(url)
                else:
                    form = await s3.generate_presigned_post("bucket", "key")
                    made = parse_time(form["fields"]["x-amz-date"])
                now = skewguard.now()
                assert now is not None
                assert abs(made - now.midpoint / 1e9) < 60
