"""What a device is chosen to compute in."""

import pytest
import torch

from xctvol.model.devices import learning_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "fp32"),
        ({"neon": True, "bf16": True}, "fp32"),
    ],
)
def test_processors_learn_in_bf16_where_they_multiply_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert learning_precision(CPU) == expected


def test_torch_that_does_not_tell_learns_in_fp32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert learning_precision(CPU) == "fp32"
