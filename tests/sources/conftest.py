"""What the tests of sources share: reading a whole source, and where the real scans are."""

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def read():
    """Read all slices of a source, in two parts, into an array that held other values."""

    def whole(source):
        out = np.full(source.shape, 77, source.dtype)
        middle = source.shape[0] // 2
        source.read_into(middle, source.shape[0], out[middle:])
        source.read_into(0, middle, out[:middle])
        return out

    return whole


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip(f"the real scans are not at {DATA}")
    return DATA
