import pytest

from xctvol.errors import InputError, PartialError, PlanError, UsageError, XctvolError


@pytest.mark.parametrize(
    ("error", "code"),
    [(XctvolError, 1), (UsageError, 2), (InputError, 3), (PlanError, 1), (PartialError, 4)],
)
def test_every_error_knows_its_exit_code(error, code):
    with pytest.raises(XctvolError, match="why") as caught:
        raise error("why")
    assert caught.value.exit_code == code


def test_a_message_keeps_its_beginning_and_its_end_however_long_a_claim_is():
    short = str(XctvolError("a" * 1200))
    long = str(InputError(f"m.safetensors claims {'x' * 100_000}; train again"))
    assert short == "a" * 1200
    assert long.startswith("m.safetensors claims xxx")
    assert long.endswith("xxx; train again")
    assert " [...] " in long
    assert len(long) == 1207


def test_a_message_is_one_line_whatever_a_file_is_called():
    assert (
        str(XctvolError("labels/a\nb\r\u2028c.zarr is missing")) == "labels/a b  c.zarr is missing"
    )
