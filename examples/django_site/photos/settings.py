"""The settings. skewguard needs only its entry in INSTALLED_APPS; the dict of options is optional."""

import os

SECRET_KEY = "an example"  # noqa: S105 -- nothing is signed with it
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "photos.urls"

INSTALLED_APPS = [
    "skewguard.contrib.django",  # first, so that what the other apps import is guarded
    "storages",
    "django_ses",
]

SKEWGUARD = {"max_offset": 86_400}  # a clock more than a day off is not corrected

STORAGES = {"default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"bucket_name": "bucket"}}}
EMAIL_BACKEND = "django_ses.SESBackend"
AWS_SES_AUTO_THROTTLE = None
AWS_SES_REGION_NAME = "us-east-1"
AWS_SES_REGION_ENDPOINT_URL = os.environ.get("AWS_ENDPOINT_URL", "")
