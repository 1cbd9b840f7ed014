"""Places: what text means, and that places in buckets have pathlib's names and parts."""

import pickle
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import UsageError
from xctvol.files import remove_partials
from xctvol.locations import S3Path, local, located
from xctvol.resources import free_disk
from xctvol.sources import open_source

NAMES = st.text("abc.-_ 0", min_size=1).filter(lambda name: name.strip(".") == name)


@given(st.lists(NAMES, min_size=2, max_size=4), NAMES)
def test_names_and_parts_are_those_of_pathlib(names, name):
    place, path = S3Path("bucket", "/".join(names)), PurePosixPath(*names)
    for ours, theirs in (
        (place / name, path / name),
        (place.with_name(name), path.with_name(name)),
    ):
        assert (ours.bucket, ours.key) == ("bucket", str(theirs))
    assert (place.name, place.stem) == (path.name, path.stem)
    assert located(str(place)) == pickle.loads(pickle.dumps(place)) == place


def test_text_says_where():
    assert located("s3://b-1/deep/leaf.zarr/") == S3Path("b-1", "deep/leaf.zarr")
    assert located("leaf.zarr") == located(Path("leaf.zarr")) == Path("leaf.zarr")


@pytest.mark.parametrize(
    "text", ["s3://", "s3://bucket", "s3://bucket/", "s3://b//a", "s3://b/../a", "s3://k:sec@b/a"]
)
def test_other_text_is_refused_and_not_quoted(text):
    with pytest.raises(UsageError, match=r"s3://bucket/leaf\.zarr") as caught:
        located(text)
    assert "sec" not in str(caught.value).lower().replace("secret_access_key", "")


def test_a_path_has_lost_a_slash():
    with pytest.raises(UsageError, match="not as a Path"):
        located(Path("s3://bucket/leaf.zarr"))


@pytest.mark.parametrize(
    "use",
    [
        lambda: local("s3://bucket/tables", "the tables"),
        lambda: local(Path("s3://bucket/tables"), "the tables"),
        lambda: open_source("s3://bucket/scan/*.tif"),
        lambda: open_source([Path("s3://bucket/scan/a.tif")]),
    ],
)
def test_only_volumes_can_be_in_buckets(use):
    with pytest.raises(UsageError, match=r"only volumes can be: the .* must be local"):
        use()


def test_a_bucket_has_room_and_no_partial_files():
    place = S3Path("bucket-of-nobody", "a.zarr")
    assert free_disk(place) > 1 << 60
    remove_partials(place)  # asks nobody
