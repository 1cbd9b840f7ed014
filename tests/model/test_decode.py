"""largest_in_bands against torch's own interpolate and argmax."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from xctvol.model.decode import largest, largest_in_bands

sizes = st.tuples(st.integers(1, 200), st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(size=sizes, shrink=st.integers(1, 9), materials=st.integers(1, 7), seed=st.integers(0, 99))
def test_bands_equal_the_plain_way(size, shrink, materials, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, materials, *(-(-s // shrink) for s in size), generator=generator)
    plain = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    expected = plain.argmax(1)
    assert torch.equal(largest(coarse, size).long(), expected)
    found = largest_in_bands(coarse, size).long()
    two = plain.topk(min(2, materials), 1).values
    ties = (two[:, 0] - two[:, -1] < 1e-5) & (materials > 1)
    assert torch.equal(found[~ties], expected[~ties])


@pytest.mark.parametrize("decode", [largest, largest_in_bands])
def test_of_equal_logits_the_first_wins(decode):
    coarse = torch.tensor([1.0, 3.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()
    assert torch.equal(decode(coarse, (8, 8)), torch.ones(1, 8, 8, dtype=torch.uint8))
