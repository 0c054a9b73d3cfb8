"""What users guard, and with what, as their type checkers see it, with the stubs of boto3 and botocore or without."""

from __future__ import annotations

import boto3
import botocore.session

import skewguard
from skewguard.testing import StrictEndpoint


def guard() -> None:
    with StrictEndpoint(offset=1200) as endpoint:
        sts = boto3.client("sts", **endpoint.client_kwargs)
        skewguard.attach(sts, enabled=True)
        skewguard.attach(boto3.resource("s3", **endpoint.client_kwargs), learn_from_responses=False)
        skewguard.attach(boto3.Session(), sources=["chrony"])
        skewguard.attach(botocore.session.get_session(), sources="response")
        skewguard.detach(sts)
        skewguard.initialize_client_plugin(sts)
        session = skewguard.session(region_name="us-east-1")
        session.client("s3", **endpoint.client_kwargs).list_buckets()
        if skewguard.status().state == "synchronized":
            print(sts.get_caller_identity()["Account"])
