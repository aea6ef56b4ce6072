"""GLUE in all the shapes that it comes in, and what is said of a file that is wrong."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from api_schemas.errors import LayercutError
from api_schemas.task_spec import TaskSpec
from api_schemas.tasks import TASKS, Task
from sources.glue import read_glue
from sources.settings import SourceSettings
from sources.tasks import check_dataset, load_task
from tests.support.hub_server import HubServer

GLUE_DIR = os.environ.get("LAYERCUT_GLUE_DIR")  # read before the fixture that clears it

# A header and two rows of each task, as the official files have them.
TSV = {
    "cola": "gj04\t1\t\tThe sailors rode the breeze.\ngj04\t0\t*\tThe ship sank the.\n",
    "sst2": "sentence\tlabel\na charming journey . \t1\nunflinchingly bleak \t0\n",
    "mrpc": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    '1\t10\t11\tHe said , " no .\tHe refused .\n0\t12\t13\tIt rose 5 % .\t"It fell .\n',
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    "0\tg\tf\ty\t1\tnone\tnone\tA plane.\tA jet.\t4.750\n1\tg\tf\ty\t2\tnone\tnone\tA cat.\tA car.\t0\n",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    "1\t2\t3\tWhat is AI?\tWhat's AI?\t1\n2\t4\t5\tWho am I?\t\t0\n",
    "mnli": "index\tpromptID\tsentence1\tsentence2\tlabel1\tgold_label\n"
    "0\tp\tA man eats.\tSomeone eats.\tentailment\tentailment\n"
    "1\tp\tA man eats.\tNobody eats.\tneutral\t-\n"
    "2\tp\tA man eats.\tHe is tall.\tneutral\tneutral\n",
    "qnli": "index\tquestion\tsentence\tlabel\n0\tWho won?\tFrance won.\tentailment\n"
    "1\tWhen?\tIn France.\tnot_entailment\n",
    "rte": "index\tsentence1\tsentence2\tlabel\n0\tDana died.\tDana lives.\tnot_entailment\n"
    "1\tIt rains.\tIt is wet.\tentailment\r\n",
    "wnli": "index\tsentence1\tsentence2\tlabel\n0\tThe drain is clogged.\tThe drain.\t1\n1\tA\u2028b\x85c.\tB.\t0\n",
}
ROWS: dict[str, tuple[list[tuple[str, ...]], list[float]]] = {
    "cola": ([("The sailors rode the breeze.",), ("The ship sank the.",)], [1, 0]),
    "sst2": ([("a charming journey . ",), ("unflinchingly bleak ",)], [1, 0]),
    "mrpc": ([('He said , " no .', "He refused ."), ("It rose 5 % .", '"It fell .')], [1, 0]),
    "stsb": ([("A plane.", "A jet."), ("A cat.", "A car.")], [4.75, 0.0]),
    "qqp": ([("What is AI?", "What's AI?"), ("Who am I?", "")], [1, 0]),
    "mnli": ([("A man eats.", "Someone eats."), ("A man eats.", "He is tall.")], [0, 1]),
    "qnli": ([("Who won?", "France won."), ("When?", "In France.")], [0, 1]),
    "rte": ([("Dana died.", "Dana lives."), ("It rains.", "It is wet.")], [1, 0]),
    "wnli": ([("The drain is clogged.", "The drain."), ("A\u2028b\x85c.", "B.")], [1, 0]),
}


def write_tsv(root: Path, task: Task, text: str) -> SourceSettings:
    folder = root / task.folder
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("train", *dict(task.splits).values()):
        (folder / f"{stem}.tsv").write_bytes(text.encode())
    return SourceSettings(glue_dir=root)


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_reads_its_official_files(tmp_path: Path, name: str) -> None:
    task = TASKS[name]
    settings = write_tsv(tmp_path, task, TSV[name])
    check_dataset(TaskSpec(name=name), settings)
    data = load_task(TaskSpec(name=name), settings, seed=1)
    for rows in (data.train, *data.dev.values()):
        assert (rows.texts, rows.labels) == ROWS[name]
        assert rows.sha256 == hashlib.sha256(TSV[name].encode()).hexdigest()
        assert rows.dropped == (1 if name == "mnli" else 0), "rows on which the annotators did not agree are left out"
    assert list(data.dev) == [split for split, _ in task.splits]
    assert (data.label_names, data.metrics, data.kind) == (task.label_names, task.metrics, task.kind)


def test_the_headline_split_of_mnli_is_the_matched_one(tmp_path: Path) -> None:
    data = load_task(TaskSpec(name="mnli"), write_tsv(tmp_path, TASKS["mnli"], TSV["mnli"]), seed=1)
    assert list(data.dev) == ["validation_matched", "validation_mismatched"]


def parquet(name: str) -> bytes:
    """ROWS as the hub has them: numbered labels, columns by the hub's names, and an index."""
    texts, labels = ROWS[name]
    columns = {column: [row[place] for row in texts] for place, column in enumerate(TASKS[name].hub_columns)}
    kind = pa.float32() if TASKS[name].kind == "regression" else pa.int64()
    table = pa.table({**columns, "label": pa.array(labels, kind), "idx": list(range(len(labels)))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def hub_files() -> dict[str, bytes]:
    return {
        f"{name}/{split}-00000-of-00001.parquet": parquet(name)
        for name, task in TASKS.items()
        for split in ("train", *dict(task.splits))
    }


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_reads_from_a_copy_of_the_hubs_folder(tmp_path: Path, name: str) -> None:
    for path, content in hub_files().items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    data = load_task(TaskSpec(name=name), SourceSettings(glue_dir=tmp_path), seed=1)
    for rows in (data.train, *data.dev.values()):
        assert (rows.texts, rows.labels) == ROWS[name]
        assert rows.sha256 == hashlib.sha256(parquet(name)).hexdigest()


def test_without_a_folder_the_hub_is_read_and_only_the_tasks_files(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("nyu-mll/glue", hub_files(), kind="datasets")
    data = load_task(TaskSpec(name="stsb"), SourceSettings(), seed=1)
    assert (data.train.texts, data.train.labels) == ROWS["stsb"]
    fetched = {path.split("/resolve/")[1].split("/", 1)[1] for _, path in hub.requests if "/resolve/" in path}
    assert fetched == {"stsb/train-00000-of-00001.parquet", "stsb/validation-00000-of-00001.parquet"}
    # Once fetched, it works without the hub; what was not fetched says what would help.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_task(TaskSpec(name="stsb"), SourceSettings(), seed=1) == data
    with pytest.raises(LayercutError, match="LAYERCUT_GLUE_DIR"):
        load_task(TaskSpec(name="rte"), SourceSettings(), seed=1)


def test_a_task_that_the_folder_lacks_comes_from_the_hub(hub: HubServer, tmp_path: Path) -> None:
    hub.add("nyu-mll/glue", hub_files(), kind="datasets")
    settings = write_tsv(tmp_path, TASKS["rte"], TSV["rte"])
    assert read_glue(TASKS["cola"], "train", settings).labels == [1, 0]


def test_neither_folder_nor_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        LayercutError, match="'nyu-mll/glue' is not in the cache, and the hub does not answer"
    ) as caught:
        load_task(TaskSpec(name="rte"), SourceSettings(), seed=1)
    assert caught.value.code == "hub_unavailable"


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("rte", "\tlabel\n", "\tanswer\n", r"RTE/train\.tsv:1: no column 'label'; the columns are: 'index'"),
        ("mrpc", "#2 String", "#2 Strng", r"MRPC/train\.tsv:1: no column '#2 String'; did you mean '#2 Strng'\?"),
        ("rte", "entailment\r", "entail\r", r"RTE/train\.tsv:3: label 'entail' is none of entailment, not_entailment"),
        ("sst2", "\t1\n", "\t2\n", r"SST-2/train\.tsv:2: label '2' is none of 0, 1"),
        ("cola", "\t0\t*", "\t?\t*", r"CoLA/train\.tsv:2: label '\?' is none of 0, 1"),
        ("stsb", "4.750", "high", r"STS-B/train\.tsv:2: score 'high' is not a number"),
        ("stsb", "4.750", "nan", r"STS-B/train\.tsv:2: score 'nan' is not a number"),
        ("qqp", "\tWho am I?\t\t0", "\tWho am I?", r"QQP/train\.tsv:3: the row has too few columns; 1 such"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, name: str, old: str, new: str, text: str) -> None:
    assert TSV[name].count(old) == 1
    settings = write_tsv(tmp_path, TASKS[name], TSV[name].replace(old, new))
    for call in (
        lambda: load_task(TaskSpec(name=name), settings, 1),
        lambda: check_dataset(TaskSpec(name=name), settings),
    ):
        with pytest.raises(LayercutError, match=text) as caught:
            call()
        assert (caught.value.code, caught.value.param) == ("dataset_invalid", "/task")


@pytest.mark.parametrize("text", ["", TSV["rte"].split("\n")[0] + "\n"])
def test_a_file_without_rows(tmp_path: Path, text: str) -> None:
    with pytest.raises(LayercutError, match=r"RTE/train\.tsv:1: the file has no rows"):
        load_task(TaskSpec(name="rte"), write_tsv(tmp_path, TASKS["rte"], text), 1)


def test_broken_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    settings = write_tsv(tmp_path, TASKS["rte"], TSV["rte"])
    (tmp_path / "RTE" / "dev.tsv").write_bytes(TSV["rte"].encode().replace(b"rains", b"r\xe9ins"))
    with pytest.raises(LayercutError, match=r"RTE/dev\.tsv:3: not UTF-8: byte 0xe9 at position 7"):
        load_task(TaskSpec(name="rte"), settings, 1)


def test_the_few_broken_rows_of_qqp_are_left_out_of_train_and_never_of_dev(tmp_path: Path) -> None:
    header, row, _ = TSV["qqp"].split("\n", 2)
    text = "\n".join([header, *[row] * 10_000, "3\t6\t7\tbroken over", *[row] * 10_000]) + "\n"
    settings = write_tsv(tmp_path, TASKS["qqp"], text)
    train = read_glue(TASKS["qqp"], "train", settings)
    assert (len(train), train.dropped) == (20_000, 1)
    with pytest.raises(LayercutError, match=r"QQP/dev\.tsv:10002: the row has too few columns"):
        read_glue(TASKS["qqp"], "validation", settings)


def test_a_missing_split_and_a_missing_folder(tmp_path: Path) -> None:
    settings = write_tsv(tmp_path, TASKS["rte"], TSV["rte"])
    (tmp_path / "RTE" / "dev.tsv").unlink()
    with pytest.raises(LayercutError, match=r"RTE .* neither dev\.tsv nor validation\*\.parquet") as caught:
        load_task(TaskSpec(name="rte"), settings, 1)
    assert caught.value.code == "dataset_not_found"
    with pytest.raises(LayercutError, match="LAYERCUT_GLUE_DIR of the service names no folder"):
        load_task(TaskSpec(name="rte"), SourceSettings(glue_dir=tmp_path / "none"), 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no parquet", "not Parquet"),
        (parquet("sst2"), "no column 'sentence1'; the columns are: sentence, label, idx"),
        (parquet("stsb"), r"row 1: .* label 4\.75 is not one"),
    ],
)
def test_wrong_parquet(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "train.parquet").write_bytes(content)
    with pytest.raises(LayercutError, match=rf"rte/train\.parquet: {text}"):
        read_glue(TASKS["rte"], "train", SourceSettings(glue_dir=tmp_path))


def test_max_train_rows_is_a_seeded_sample_of_train_alone(tmp_path: Path) -> None:
    header = "sentence\tlabel\n"
    rows = "".join(f"text {number}\t{number % 2}\n" for number in range(100))
    settings = write_tsv(tmp_path, TASKS["sst2"], header + rows)
    spec = TaskSpec(name="sst2", max_train_rows=10)
    first, again, other = (load_task(spec, settings, seed) for seed in (1, 1, 2))
    assert len(first.train) == 10
    assert len(first.dev["validation"]) == 100
    assert [rows.digest() for rows in (first.train, *first.dev.values())] == [
        rows.digest() for rows in (again.train, *again.dev.values())
    ]
    assert first.train.texts != other.train.texts


# Rows of train and of each dev split in the official release; MNLI's train may be a part.
PUBLISHED = {
    "rte": (2490, [277]),
    "mrpc": (3668, [408]),
    "stsb": (5749, [1500]),
    "sst2": (67349, [872]),
    "wnli": (635, [71]),
    "mnli": (None, [9815, 9832]),
    "cola": (8551, [1043]),
    "qnli": (104743, [5463]),
    "qqp": (None, [40430]),
}


@pytest.mark.parametrize("name", list(TASKS))
def test_the_real_files_have_the_published_number_of_rows(name: str) -> None:
    if not GLUE_DIR:
        pytest.skip("LAYERCUT_GLUE_DIR is unset: it names the folder of the real GLUE files")
    if not (Path(GLUE_DIR) / TASKS[name].folder).is_dir():
        pytest.skip(f"LAYERCUT_GLUE_DIR has no folder {TASKS[name].folder}")
    data = load_task(TaskSpec(name=name), SourceSettings(glue_dir=Path(GLUE_DIR)), seed=1)
    train, dev = PUBLISHED[name]
    assert train is None or len(data.train) == train
    assert [len(rows) for rows in data.dev.values()] == dev
