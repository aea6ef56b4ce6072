"""How the trainings of a job went: their loss, step by step, and the scores at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from api_schemas.events import Event, EventType, MetricData, NewEvent, StageData
from api_schemas.jobs import Progress, Stage
from figures.drawing import Drawing
from figures.missing import MissingData
from figures.parts import ROW, Sample, legend, legend_rows, line_sample, panel, say, sheet, whole_numbers
from figures.style import SMALL, WIDTH, Inks, look
from figures.words import number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "curves"
#: Of a line: more are not to be told apart at this width.
MOST_POINTS = 600
MOST_LINES = 12
TRAININGS = (Stage.BASELINE, Stage.RECOVERING)


@dataclass(frozen=True)
class LossPoint:
    """After ``step`` steps of the optimizer; ``loss`` is a mean over about the last fifty."""

    step: int
    loss: float
    epoch: float | None = None


@dataclass
class Line:
    """One training. Each of ``pieces`` was told without a break; between two, an attempt was lost."""

    stage: str
    seed: int | None = None
    pieces: list[list[LossPoint]] = field(default_factory=list)

    def begin(self) -> None:
        """What is told from here on is of another attempt."""
        if not self.pieces or self.pieces[-1]:
            self.pieces.append([])

    def add(self, point: LossPoint) -> None:
        """A step that is done again takes the place of what was told of it, and of all behind it."""
        if not self.pieces:
            self.pieces.append([])
        last = max((piece[-1].step for piece in self.pieces[-2:] if piece), default=-1)
        if point.step <= last:
            earlier = [[old for old in piece if old.step < point.step] for piece in self.pieces]
            self.pieces = [*(piece for piece in earlier if piece), []]
        _append(self.pieces[-1], point)


def _append(piece: list[LossPoint], point: LossPoint) -> None:
    """So that a training of a million steps keeps no more points than can be seen: the newest is always among them."""
    if len(piece) > 2 * MOST_POINTS:
        piece[:] = [*piece[:-1:2], piece[-1]]
    stride = piece[1].step - piece[0].step if len(piece) > MOST_POINTS else 0
    if len(piece) > 2 and piece[-1].step - piece[-2].step < stride:
        piece.pop()
    piece.append(point)


@dataclass(frozen=True)
class Score:
    """``side``: before, of the full model, or after."""

    name: str
    side: str
    value: float


@dataclass(frozen=True)
class CurveData:
    lines: list[Line]
    scores: list[Score]


def curve_points(events: Iterable[Event | NewEvent]) -> CurveData:
    """What the events of a job, oldest first, say of its trainings. Of scores, the last of each name and side."""
    reading = CurveReading()
    for event in events:
        reading.take(event)
    return reading.found()


class CurveReading:
    """What was read so far, and the training that is under way: for who gets the events bit by bit."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int | None], Line] = {}
        self._scores: dict[tuple[str, str], Score] = {}
        self._now: Line | None = None
        self._attempt: int | None = None

    def take(self, event: Event | NewEvent) -> None:
        """The next event. Those that have no number yet are of one attempt."""
        attempt = getattr(event, "attempt", None)
        if attempt != self._attempt:
            self._attempt, self._now = attempt, None
            for line in self._lines.values():
                line.begin()
        read = _READ.get(event.type)
        if read is not None:
            read(self, event.data)

    def found(self) -> CurveData:
        """A copy of what is known now."""
        lines = [
            Line(line.stage, line.seed, [list(piece) for piece in line.pieces if piece])
            for line in self._lines.values()
            if any(line.pieces)
        ]
        return CurveData(lines, list(self._scores.values()))

    def _stage(self, data: StageData) -> None:
        trains = data.stage in TRAININGS and not data.skipped
        key = (data.stage.value, data.seed)
        self._now = self._lines.setdefault(key, Line(*key)) if trains else None

    def _progress(self, data: Progress) -> None:
        if self._now is not None and data.loss is not None and data.step is not None:
            self._now.add(LossPoint(data.step, data.loss, data.epoch))

    def _metric(self, data: MetricData) -> None:
        if data.value is not None and data.of is None:
            self._scores[data.name, data.side] = Score(data.name, data.side, data.value)


_READ: dict[EventType, Callable[[CurveReading, Any], None]] = {
    EventType.STAGE: CurveReading._stage,
    EventType.PROGRESS: CurveReading._progress,
    EventType.METRIC: CurveReading._metric,
}


def curves(data: CurveData, *, metric: str | None = None, name: str = NAME) -> Drawing:
    """``metric``: which of the scores is the headline; the first that was told, where nothing is said."""
    lines = [line for line in data.lines if any(line.pieces)][:MOST_LINES]
    if not lines:
        raise MissingData(
            "no training has told a loss: `recovery.method` is `none` and the baseline came from the cache or was not"
            " trained, or the job has not come so far yet"
        )
    labels, scores = labels_of(lines), _headline(data.scores, metric)
    title = "Loss of the trainings, and the score"
    alt = " ".join(_told(line, label) for line, label in zip(lines, labels, strict=True)) + "".join(
        f" Score ({plain(score.name, 40)}) {'of the full model' if score.side == 'before' else 'delivered'}:"
        f" {score.value:.2f}." for score in scores
    )  # fmt: skip

    def draw(inks: Inks) -> Figure:
        return _draw(inks, title if scores else "Loss of the trainings", lines, scores)

    return Drawing(name, title if scores else "Loss of the trainings", alt, draw)


def _headline(scores: Sequence[Score], metric: str | None) -> list[Score]:
    chosen = metric or next((score.name for score in scores), None)
    return sorted((score for score in scores if score.name == chosen), key=lambda score: score.side != "before")


def labels_of(lines: Sequence[Line]) -> list[str]:
    """Of each training its stage, and its seed where there are several."""
    several = len({line.seed for line in lines if line.seed is not None}) > 1
    return [f"{line.stage}, seed {line.seed}" if several and line.seed is not None else line.stage for line in lines]


def _told(line: Line, label: str) -> str:
    points = [point for piece in line.pieces for point in piece]
    lost = len(line.pieces) - 1
    gap = f" with {lost} {'gap' if lost == 1 else 'gaps'} where attempts were lost," if lost else ""
    return (
        f"The loss of {label} went from {number(points[0].loss, 4)} at step {points[0].step} to"
        f" {number(points[-1].loss, 4)} at step {points[-1].step}{',' + gap if gap else ''}."
    ).replace(",.", ".")


def thinned(piece: list[LossPoint], most: int = MOST_POINTS) -> list[LossPoint]:
    """Every so manieth, and the last."""
    step = max(1, -(-len(piece) // most))
    return piece[::step] + ([piece[-1]] if (len(piece) - 1) % step else [])


def _draw(inks: Inks, title: str, lines: list[Line], scores: list[Score]) -> Figure:
    labels = labels_of(lines)
    foot = 340.0
    figure, axes = sheet(foot + ROW * len(legend_rows(labels)) + 14, inks, title)
    right = 530 if scores else WIDTH - 24
    plot = panel(figure, inks, (64, 78, right, 288), across="steps of the optimizer", up="loss")
    entries: list[tuple[str, Sample]] = []
    for at, line in enumerate(lines):
        style = look(at)
        for piece in line.pieces:
            points = thinned(piece)
            steps, losses = [point.step for point in points], [point.loss for point in points]
            plot.plot(steps, losses, color=inks[style.colour], linestyle=style.dash, linewidth=2)
        last = line.pieces[-1][-1]
        plot.plot([last.step], [last.loss], marker=style.mark, color=inks[style.colour], markersize=7)
        entries.append((labels[at], line_sample(inks, style)))
    plot.margins(x=0.03, y=0.08)
    whole_numbers(plot)
    if scores:
        _scores(panel(figure, inks, (610, 78, WIDTH - 24, 288), up=f"score, {scores[0].name}"), inks, scores)
    legend(axes, foot, entries, inks)
    return figure


def _scores(plot: Axes, inks: Inks, scores: list[Score]) -> None:
    """A point before and a point after, and how one comes to the other."""
    places = {"before": 0, "after": 1}
    xs, ys = [places[score.side] for score in scores], [score.value for score in scores]
    plot.plot(xs, ys, color=inks["muted"], linewidth=1.5)
    for x, y in zip(xs, ys, strict=True):
        face = inks["paper"] if x == 0 else inks["c0"]
        plot.plot([x], [y], marker="o", color=inks["muted" if x == 0 else "c0"], markerfacecolor=face, markersize=9)
        say(
            plot,
            x,
            y,
            f"{y:.2f}",
            inks["ink"],
            size=SMALL,
            at="center",
            transform=_moved(plot, 11 if y == max(ys) else -19),
        )
    room = max((max(ys) - min(ys)) * 0.6, 1.0)
    plot.set_xlim(-0.7, 1.7)
    plot.set_ylim(min(ys) - room, max(ys) + room)
    plot.set_xticks([0, 1], ["full", "pruned"])
    plot.grid(visible=False, axis="x")


def _moved(plot: Axes, up: float) -> Any:
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415 - only who draws has it

    return plot.transData + ScaledTranslation(0, up / 72, plot.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
