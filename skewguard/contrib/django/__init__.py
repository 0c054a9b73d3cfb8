"""For Django: ``INSTALLED_APPS += ["skewguard.contrib.django"]``, and a dict ``SKEWGUARD`` of `install`'s options."""
