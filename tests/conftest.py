"""What all tests share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
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


@pytest.fixture(scope="session")
def real_data() -> Callable[..., Path]:
    """Where a file of the real scans is; a test whose data set is not there is skipped.

    A file that its data set lacks fails the test. Tests ask when they run and not when they are
    collected, so that those which are skipped are counted.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XCTVOL_TEST_DATA") or beside)

    def found(*parts: str) -> Path:
        path = Path(*parts)
        data_set = folder / path.parts[0]
        if not data_set.exists():
            pytest.skip(f"there is no {data_set}; XCTVOL_TEST_DATA may name another folder")
        return folder / path

    return found
