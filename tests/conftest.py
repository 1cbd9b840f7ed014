"""What all tests share."""

import sys

from hypothesis import settings

# machines that run tests are busy: a slow example says nothing, and a failure by chance nothing
# about a change
settings.register_profile("xctvol", deadline=None, derandomize=True)
settings.load_profile("xctvol")


def pytest_collection_finish():
    """Arrays of tests are small: two threads that wait for each other would be slower.

    On processors that are busy, ten times. Commands in processes of their own use what they like.
    """
    torch = sys.modules.get("torch")  # most tests do without, and it takes seconds to import
    if torch is not None:
        torch.set_num_threads(1)
