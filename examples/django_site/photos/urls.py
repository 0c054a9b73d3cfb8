"""One page: it saves a file by django-storages, reads it with boto3, and sends a mail by django-ses."""

import boto3
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.urls import path

s3 = boto3.client("s3", region_name="us-east-1")


def index(_: HttpRequest) -> HttpResponse:
    """Make three calls to AWS."""
    name = default_storage.save("photo", ContentFile(b"a photo"))
    body = s3.get_object(Bucket="bucket", Key=name)["Body"].read()
    sent = send_mail("A photo", "has come.", "from@example.com", ["to@example.com"])
    return HttpResponse(f"{body.decode()}, {sent} mail\n")


urlpatterns = [path("", index)]
