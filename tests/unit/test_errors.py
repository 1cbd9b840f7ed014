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
