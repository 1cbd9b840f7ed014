"""What the tests of sources share: reading a whole source."""

import numpy as np
import pytest


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
