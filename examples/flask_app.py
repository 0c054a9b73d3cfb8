"""A Flask app that calls S3, on a host whose clock is wrong: ``flask --app flask_app run``."""

import boto3
from flask import Flask

from skewguard.contrib.flask import Skewguard

clock = Skewguard()


def create_app() -> Flask:
    """Create the app, for Flask's command line."""
    app = Flask(__name__)
    clock.init_app(app)
    s3 = boto3.client("s3", region_name="us-east-1")

    @app.get("/")
    def index() -> str:
        return s3.get_object(Bucket="bucket", Key="photo")["Body"].read().decode()

    return app
