"""What a table may take at most: of memory, of disk and of time. One table of numbers, for every format.

The size of a file says little of what is in it: a Parquet of a kilobyte may hold one text four thousand million times.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB = 2**10, 2**20, 2**30

#: Of one row of CSV or JSON, and of one value of Parquet, in bytes.
MAX_ROW = 16 * MIB
#: A table of texts has a dozen columns.
MAX_COLUMNS = 1024
#: Texts that are handed on at a time, in rows and in bytes.
BATCH_ROWS, BATCH_BYTES = 8192, 64 * MIB
#: Of what a second reader reads too, in rows and in bytes.
COMPARED_ROWS, COMPARED_BYTES = 200, 64 * MIB
#: Of Parquet's list of columns, at the end of the file: a thousand row groups of ten columns take a megabyte.
MAX_FOOTER = 8 * MIB
MAX_ROW_GROUPS = 20_000
#: A file, unless the setting says otherwise.
TABLE_BYTES = 64 * GIB
#: Of a file that nobody wrote: text has no zeros. Of Parquet half may be: a column of zeros that was copied sparsely.
MAX_HOLES = MIB
#: How long a look may take that is only to see whether the file can be read, in seconds.
LOOK_SECONDS = 100.0
#: What a file is written to anew where DuckDB cannot read it as it is: never more than half of what the disk has left.
COPY_BYTES, LOOK_COPY_BYTES = 64 * GIB, 4 * GIB
#: A list of JSON that is larger is not read as one thing to find the line of a fault: each value takes 70 bytes.
MOST_WHOLE = 16 * MIB


@dataclass(frozen=True)
class Expansion:
    """What a file may become when it is decoded: ``least`` bytes in any case, else ``times`` its own size."""

    least: int
    times: int

    def of(self, size: int) -> int:
        """In bytes, of a file of ``size`` bytes."""
        return max(self.least, self.times * size)


#: Repetitive text is compressed to a hundredth, a column of one text that stands in every row to a thousandth.
DECODED = Expansion(GIB, 1000)
