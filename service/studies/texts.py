"""Studies as they are written out: thousands of cells, and of a study that has ended the same again and again."""

from __future__ import annotations

from collections.abc import Callable

from api_schemas.studies.shown import Study
from api_schemas.studies.text import as_csv, as_markdown
from service.edge.root_path import address
from service.state import GatewayState
from service.studies.reading import read_study
from service.uncollected import uncollected
from store.audit import Actor

FORMS: dict[str, Callable[[Study], str]] = {
    "application/json": lambda study: study.model_dump_json(),
    "text/csv": lambda study: as_csv(study.table),
    "text/markdown": as_markdown,
}


def written(state: GatewayState, actor: Actor, study_id: str, form: str) -> str:
    """The study in a form of ``FORMS``. Raises ``study_not_found``, also for another tenant's."""
    revision = state.studies.of(actor).revision(study_id)
    key = (study_id, form, address(""), revision)
    found = None if revision is None else state.kept_texts.get(key)
    if found is not None:
        return found
    with uncollected():
        text = FORMS[form](read_study(state, actor, study_id))
    if revision is not None and revision == state.studies.of(actor).revision(study_id):
        state.kept_texts.put(key, text)
    return text
