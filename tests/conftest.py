"""What all tests share."""

from hypothesis import settings

# machines that run tests are busy: a slow example says nothing
settings.register_profile("xctvol", deadline=None)
settings.load_profile("xctvol")
