"""What a figure says that has nothing to be drawn from."""

from __future__ import annotations


class MissingData(Exception):
    """What the figure needs is not there. Its text is a sentence: what is missing, and how it is got."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
