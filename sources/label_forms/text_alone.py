"""Text without labels, of an embedding."""

from __future__ import annotations

from array import array

from api_schemas.task_spec import TaskSpec
from sources.label_forms.form import FEWEST, Form, Learnt, Look, Split, read_of, split, too_few
from sources.rows import Rows
from sources.tables.bounds import LOOK_SECONDS
from sources.tables.data_file import DataFile
from sources.text_files import KINDS, TextSource, all_texts, check_columns, look_at

#: More do not make what is measured on them more certain, and each is compared with all others.
MOST_DEV = 2000


class TextAlone(Form):
    """One text a row; labels are zeros."""

    suffixes = KINDS

    def read(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> tuple[Rows, Learnt]:
        source = _source(spec, file)
        with file.pinned() as pinned:
            return all_texts(source, pinned), Learnt()

    def look(self, spec: TaskSpec, file: DataFile, known: Learnt | None, limit: int) -> Look:
        source = _source(spec, file)
        with file.within(LOOK_SECONDS).pinned() as pinned:
            found = look_at(source, pinned, limit)
            return Look(Learnt(), found.read, found.rows, splits=found.rows >= FEWEST)

    def split(self, rows: Rows, seed: int) -> Split:
        """Every text that is kept aside stands there once, and is in no row to learn from."""
        if len(rows) < FEWEST:
            raise too_few(rows.source, len(rows))
        drawn = split(rows, {0: array("q", range(len(rows)))}, seed, MOST_DEV)
        aside, once = set[int](), list[int]()
        for at, (text,) in enumerate(drawn.dev.texts):
            if (found := hash(text)) not in aside:
                aside.add(found)
                once.append(at)
        others = array("q", (at for at, (text,) in enumerate(drawn.train.texts) if hash(text) not in aside))
        if len(others) == len(drawn.train) and len(once) == len(drawn.dev):
            return drawn
        if not others:
            raise too_few(rows.source, len(rows))
        count = len(rows) - len(others) - len(once)
        warning = f"{count} rows of {rows.source} are left out, as their texts are among those that are kept aside"
        return Split(drawn.train.pick(others, drawn.train.source), drawn.dev.pick(once, drawn.dev.source), (warning,))


def _source(spec: TaskSpec, file: DataFile) -> TextSource:
    source = TextSource(tuple(spec.text_columns), read_of(spec, file), "/task/text_columns", "learn from")
    check_columns(file, source)
    return source
