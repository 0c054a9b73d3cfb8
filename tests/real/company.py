"""Not a test: the program that `test_company` runs in its own environment, as ``company.py LIBRARY ORDER``.

It sets up one library that patches botocore, before or after skewguard, makes some calls to the server that its
environment names, and prints the spans that the library recorded in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import boto3

import skewguard

Library = tuple[AbstractContextManager[Any], Callable[[], list[str]]]
"""A context around the calls, and what lists their spans, at its end; once it is left, that list is complete."""


def opentelemetry() -> Library:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    BotocoreInstrumentor().instrument(tracer_provider=provider)

    whole = provider.get_tracer("test").start_as_current_span("all")
    return whole, lambda: [span.name for span in exporter.get_finished_spans()]


def ddtrace() -> Library:
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    spans: list[str] = []

    class Keep(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            spans.extend(span.resource for span in trace if span.name != "all")

    tracer.configure(trace_processors=[Keep()])
    patch(botocore=True)
    return tracer.trace("all"), lambda: spans


def sentry() -> Library:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    spans: list[str] = []

    class Keep(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            transaction = envelope.get_transaction_event() or {"spans": []}
            # Those of the requests, of which a call may need two, are their children.
            spans.extend(span["description"] for span in transaction["spans"] if "aws." in span["description"])

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Keep, traces_sample_rate=1.0)
    return sentry_sdk.start_transaction(name="all"), lambda: spans


def xray() -> Library:
    from aws_xray_sdk.core import patch, xray_recorder

    segments: list[Any] = []

    class Keep:
        def send_entity(self, entity: Any) -> None:
            segments.append(entity)

    xray_recorder.configure(emitter=Keep(), sampling=False, service="test")
    patch(["botocore"])
    made = lambda: xray_recorder.current_segment().subsegments
    return xray_recorder.in_segment("all"), lambda: [each.aws["operation"] for each in made()]


def newrelic() -> Library:
    import newrelic.agent

    newrelic.agent.initialize()
    application = newrelic.agent.register_application(timeout=10)
    made = lambda: newrelic.agent.current_trace().children
    whole = newrelic.agent.BackgroundTask(application, name="all")
    return whole, lambda: [each.agent_attributes["aws.operation"] for each in made()]


def moto() -> Library:
    import moto as library

    urls: list[str] = []

    @contextlib.contextmanager
    def mocked() -> Iterator[None]:
        with library.mock_aws():
            sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url="https://sqs.us-east-1.amazonaws.com")
            urls.append(sqs.create_queue(QueueName="mocked")["QueueUrl"])
            yield

    return mocked(), lambda: urls


def use() -> None:
    """Make calls of several protocols; an error ends the program."""
    key = {"aws_access_key_id": os.environ["KEY"], "aws_secret_access_key": os.environ["SECRET"]}
    sts, s3, sqs, dynamodb, lambda_ = (
        boto3.client(name, region_name="us-east-1", endpoint_url=os.environ["SERVER"], **key)
        for name in ("sts", "s3", "sqs", "dynamodb", "lambda")
    )
    sts.get_caller_identity()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 100_000)
    sqs.send_message(QueueUrl=os.environ["SERVER"] + "/1/q", MessageBody="x")
    dynamodb.list_tables()
    lambda_.list_functions()


def stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """End the program when a library resolves or connects to another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        if event == "socket.connect" and arguments[0].type & socket.SOCK_DGRAM:
            return  # it sends nothing; New Relic asks the kernel so for its own address
        host = arguments[1][0]
    else:
        return
    if host not in (None, "localhost", "::1") and not str(host).startswith("127."):
        print(f"{event}: {arguments}", file=sys.stderr, flush=True)
        os._exit(3)


def main(library: Callable[[], Library], order: str) -> None:
    if order == "before":
        whole, listed = library()
    if order != "exec":
        skewguard.install()
    if order == "after":
        boto3.client("sts", region_name="us-east-1")  # from here on, botocore's names are patched
    if order != "before":
        whole, listed = library()
    with whole:
        use()
        spans = listed()
    assert skewguard.status().installed
    print(json.dumps(spans))


if __name__ == "__main__":
    sys.addaudithook(stay_here)
    main(globals()[sys.argv[1]], sys.argv[2])
