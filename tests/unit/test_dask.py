"""What may be asked of workers."""

import pytest

from xctvol.errors import UsageError
from xctvol.execution import Dask


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"workers": 0}, "0 workers"),
        ({"gpus": -1}, "-1 GPUs"),
        ({"workers": 8, "gpus": 2}, "8 workers and 2 GPUs contradict"),
    ],
)
def test_what_cannot_work_is_refused(asked, complaint):
    with pytest.raises(UsageError, match=complaint):
        Dask(**asked)


def test_each_gpu_has_a_worker():
    assert Dask(gpus=2).workers == 2
