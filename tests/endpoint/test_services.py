"""STS, DynamoDB, SQS, Lambda and EC2, as far as they are served."""

from __future__ import annotations

import time

from skewguard.testing import StrictEndpoint
from tests.endpoint.helpers import client, refused


def test_services_keep_state(endpoint: StrictEndpoint) -> None:
    """Items can be read back, messages are acknowledged."""
    dynamo = client(endpoint, "dynamodb")
    dynamo.put_item(TableName="t", Item={"k": {"S": "1"}, "v": {"N": "5"}})
    assert dynamo.get_item(TableName="t", Key={"k": {"S": "1"}})["Item"]["v"] == {"N": "5"}
    assert "Item" not in dynamo.get_item(TableName="t", Key={"k": {"S": "2"}})
    assert dynamo.list_tables()["TableNames"] == ["t"]
    sqs, queue = client(endpoint, "sqs"), {"QueueUrl": endpoint.url + "/123456789012/q"}
    sent = sqs.send_message(**queue, MessageBody="grüß")
    assert sent["MessageId"]  # botocore has compared the MD5
    if sqs.meta.service_model.protocol == "json":
        (got,) = sqs.receive_message(**queue)["Messages"]
        assert got["Body"] == "grüß"
        assert "Messages" not in sqs.receive_message(**queue)
        sqs.delete_message(**queue, ReceiptHandle=got["ReceiptHandle"])
    assert client(endpoint, "lambda").list_functions()["Functions"] == []
    ec2 = client(endpoint, "ec2")
    assert "us-east-1" in [region["RegionName"] for region in ec2.describe_regions()["Regions"]]
    assert ec2.describe_instances()["Reservations"] == []


def test_temporary_credentials(endpoint: StrictEndpoint, signer: None) -> None:
    """They are accepted with their token, until they expire by the server's clock."""
    sts = client(endpoint, "sts")
    given = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/test", RoleSessionName="test", DurationSeconds=900)[
        "Credentials"
    ]
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    good = client(endpoint, "sts", **keys, aws_session_token=given["SessionToken"])
    assert good.get_caller_identity()["Arn"].endswith("assumed-role/test/test")
    bad = client(endpoint, "sts", **keys, aws_session_token="another")
    assert refused(bad.get_caller_identity)[1] == "InvalidClientTokenId"
    s3 = client(endpoint, "s3", **keys, aws_session_token=given["SessionToken"])
    s3.list_buckets()
    # Expiry is judged by the server's clock: here just past the 15 minutes, on a client as far ahead.
    endpoint.add_credentials(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], int(time.time()) - 1
    )
    assert refused(good.get_caller_identity)[1] == "ExpiredToken"
    assert refused(s3.list_buckets)[:2] == (400, "ExpiredToken")
