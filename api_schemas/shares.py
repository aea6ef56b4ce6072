"""A share of a whole, as people write it: 0.33, 33 or "33%"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,12})? ?%")
#: In characters.
LONGEST_PERCENT = 18
#: Above 1, and less than this: 1.02 is 2 % too much as likely as 1.02 %.
LEAST_PERCENT = 2


@dataclass(frozen=True)
class Share:
    """Of a number in a request: a share above 0 (or ``zero``: from 0 on) and below 1 (or ``one``: up to 1). A text
    with a % is a percentage, and so is a number from 2 on where it is ``bare``. What is validated is the share itself.
    """

    zero: bool = False
    one: bool = False
    bare: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        most = 100 if self.bare else 1
        number = {
            "type": "number",
            "minimum" if self.zero else "exclusiveMinimum": 0,
            "maximum" if self.one else "exclusiveMaximum": most,
        }
        return {"anyOf": [number, {"type": "string", "pattern": f"^{PERCENT.pattern}$", "maxLength": LONGEST_PERCENT}]}

    def _read(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._inside(self._of_text(value), value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        is_percent = self.bare and LEAST_PERCENT <= value <= 100
        return self._inside(_hundredth(value) if is_percent else value, value)

    def _of_text(self, text: str) -> float:
        if not PERCENT.fullmatch(text):
            raise self._refusal(text)
        return _hundredth(text.rstrip("% "))

    def _inside(self, share: float, sent: str | float) -> float:
        above = share >= 0 if self.zero else share > 0
        below = share <= 1 if self.one else share < 1
        if above and below:
            return share
        raise _UNCLEAR if sent == 1 and self.bare else self._refusal(sent)

    def _refusal(self, sent: str | float) -> PydanticCustomError:
        ends = f"{'from' if self.zero else 'above'} 0 and {'at most' if self.one else 'below'} 1"
        text = '{sent} is no share {ends}: give it as 0.33, or as a percentage, "33%"'
        return PydanticCustomError("share", text, {"ends": ends, "sent": repr(sent)[:40]})


_UNCLEAR = PydanticCustomError("share", '1 may be all of it or one percent: give "1%" or 0.01')


def _hundredth(number: str | float) -> float:
    """By decimals: 33.3 / 100 of floats is 0.33299999999999996."""
    return float(Decimal(str(number)) / 100)
