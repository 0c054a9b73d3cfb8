"""A Django site that keeps files in S3 and sends mail by SES, on a host whose clock is wrong.

``AWS_ENDPOINT_URL=... python manage.py runserver``, then open http://127.0.0.1:8000/. Also try
``python manage.py check --deploy --tag skewguard`` and ``python manage.py check_clock``.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "photos.settings"
    execute_from_command_line(sys.argv)
