"""Objects of an S3 server, read by ranges: as they were when they were looked at, or not at all."""

from __future__ import annotations

import os
from functools import partial

import obstore
import pytest

from api_schemas.errors import LayercutError
from sources.objects.addresses import parse
from sources.objects.buckets import Buckets
from store.object_clients import open_store
from store.object_errors import fault_of
from tests.support.objects import put
from tests.support.s3_server import BUCKET, bucket
from tests.support.seaweedfs import Seaweed

#: Of what is asked for at a time; a client reads ahead of whoever reads.
PIECE = 2**22
ODD = "a name with ü, %20, + and =.csv"


@pytest.fixture
def buckets() -> Buckets:
    return Buckets(partial(open_store, seconds=10), fault_of, piece=PIECE)


@pytest.mark.slow
def test_an_object_of_several_pieces_is_whole(seaweedfs: Seaweed, s3_url: str, buckets: Buckets) -> None:
    content = os.urandom(PIECE + 1000)
    address = parse(put(seaweedfs.store(), f"{s3_url}/large.csv", content))
    found = buckets.data(address, "/task/dataset")
    assert found.alone
    assert b"".join(found.open_range("large.csv", 0, len(content))) == content
    assert b"".join(found.open_range("large.csv", PIECE - 5, PIECE + 5)) == content[PIECE - 5 :][:10]


def test_one_that_changes_while_it_is_read_is_refused(seaweedfs: Seaweed, s3_url: str, buckets: Buckets) -> None:
    content, store = os.urandom(PIECE + 1000), seaweedfs.store()
    address = parse(put(store, f"{s3_url}/large.csv", content))
    blocks = iter(buckets.data(address, "/task/dataset").open_range("large.csv", 0, len(content)))
    next(blocks)
    obstore.put(store, address.key, content[::-1])
    with pytest.raises(LayercutError, match="was changed after it was looked at") as caught:
        list(blocks)
    assert caught.value.code == "dataset_invalid"


def test_keys_are_taken_as_they_stand(seaweedfs: Seaweed, s3_url: str, buckets: Buckets) -> None:
    address = parse(put(seaweedfs.store(), f"{s3_url}/{ODD}", b"text\n"))
    found = buckets.data(address, "/task/dataset")
    assert (found.id, list(found.files)) == (s3_url, [ODD])
    assert b"".join(found.open_range(ODD, 0, 5)) == b"text\n"


def test_a_prefix_ends_where_a_name_does(seaweedfs: Seaweed, s3_url: str, buckets: Buckets) -> None:
    for name in ("data/train.csv", "data/more/train.csv", "data-of-others/train.csv"):
        put(seaweedfs.store(), f"{s3_url}/{name}", b"text\n")
    assert list(buckets.data(parse(f"{s3_url}/data"), "/task/dataset").files) == ["train.csv"]


def test_what_is_no_file_of_a_model_is_not_looked_at(seaweedfs: Seaweed, s3_url: str, buckets: Buckets) -> None:
    names = ("config.json", "model.safetensors", "1_Pooling/config.json", "evil.py", "logs/a.json", "a.bin")
    for name in names:
        put(seaweedfs.store(), f"{s3_url}/model/{name}", b"{}")
    found = buckets.model(parse(f"{s3_url}/model"), "/model")
    assert set(found.files) == {"config.json", "model.safetensors", "1_Pooling/config.json", "a.bin"}
    assert found.names() == ["1_Pooling", "a.bin", "config.json", "model.safetensors"]
    assert found.names("1_Pooling") == ["config.json"]


def test_a_model_of_too_many_files_is_refused(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        server.objects |= {f"model/model-{number}-of-1201.safetensors": b"" for number in range(1201)}
        with pytest.raises(LayercutError, match="1201 files of a model") as caught:
            buckets.model(parse(f"s3://{BUCKET}/model"), "/model")
    assert caught.value.code == "model_invalid"


def test_an_account_that_the_environment_lacks_is_said(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(LayercutError, match=r"refuses to let this service read az://container/a\.csv") as caught:
        buckets.data(parse("az://container/a.csv"), "/task/dataset")
    assert caught.value.code == "dataset_not_allowed"
