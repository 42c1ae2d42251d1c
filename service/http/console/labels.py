"""Who was right, once labels came."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.pictures.charts.reliability import Bin, reliability
from service.http.console import words
from service.http.console.blocks import Beside, Block, Cell, Chart, Facts, Part, Table, Words, cells
from service.http.console.reading import Document, at, entries, mapping, real

NO_LABELS = (
    "No label has come yet, so nobody knows who was right. "
    "Send what turned out to be true to POST /feedback, by request id."
)
WRITTEN_SOON = "Labels have come; what they show is written down within seconds."
MOST_BINS = 20


def judged(candidate: Document, tags: tuple[str, str]) -> Part:
    """Paired answers against the truth; says what to do where there is none."""
    found = mapping(candidate, "evidence", "labelled")
    rows = real(found, "rows")
    if not rows:
        criteria = entries(candidate, "verdict", "criteria")  # which are newer than the details
        come = any(at(entry, "name") in ("accuracy", "loss") and real(entry, "rows") for entry in criteria)
        return Part("Who was right", (Words(WRITTEN_SOON if come else NO_LABELS, "quiet"),))
    blocks: list[Block] = []
    both = [real(found, "accuracy", key) for key in ("both", "production_only", "candidate_only", "neither")]
    if all(value is not None for value in both):
        blocks.append(_paired([value or 0.0 for value in both], rows))
    nearer = [real(found, "nearer", key) for key in ("production", "candidate", "equal")]
    if all(value is not None for value in nearer):
        blocks.append(_nearer([value or 0.0 for value in nearer]))
    compared = _compared(found)
    if compared:
        head = ("Measure", "Production", "Candidate", "Difference")
        blocks.append(Table(f"Both models on {words.rows(rows)} with labels", head, compared))
    blocks = blocks or [Facts((("Rows with labels", words.count(rows)),))]
    calibration = _calibration(mapping(found, "calibration"), tags)
    if calibration:
        blocks = [Beside((tuple(blocks), tuple(calibration)))]
    return Part("Who was right", tuple(blocks))


def _paired(both: Sequence[float], rows: float) -> Table:
    agreed, production, candidate, neither = both

    def cell(value: float, shade: int = 0) -> Cell:
        return Cell(f"{words.count(value)} ({words.share(value / rows)})", number=True, shade=shade)

    return Table(
        "Rows by who was right",
        ("", "Candidate right", "Candidate wrong"),
        (
            (Cell("Production right"), cell(agreed), cell(production, 2)),
            (Cell("Production wrong"), cell(candidate, 2), cell(neither)),
        ),
        "Only the shaded rows, where one was right and the other wrong, tell the two apart.",
    )


def _nearer(found: Sequence[float]) -> Table:
    whole = sum(found) or 1.0
    names = ("Production nearer", "Candidate nearer", "No difference beyond the tolerance")
    rows = tuple(
        cells(name, words.count(value), words.share(value / whole))
        for name, value in zip(names, found, strict=True)
    )
    return Table("Rows by who was nearer to the truth", ("", "Rows", "Share"), rows)


def _compared(found: Document) -> tuple[tuple[Cell, ...], ...]:
    measures = (
        ("accuracy", "Accuracy", words.share, words.points),
        ("loss", "Loss, 0 to 1 (less is better)", words.amount, words.signed),
        ("cost", "Cost (less is better)", words.amount, words.signed),
    )
    rows = []
    for key, name, write, differ in measures:
        before, after, difference = (
            real(found, key, part) for part in ("production", "candidate", "difference")
        )
        if before is not None or after is not None:
            rows.append(cells(name, write(before), write(after), differ(difference)))
    errors = [real(found, "calibration", model, "ece") for model in ("production", "candidate")]
    if any(error is not None for error in errors):
        rows.append(cells("Calibration error (less is better)", *map(words.share, errors), words.NONE))
    return tuple(rows)


def _calibration(found: Document, tags: tuple[str, str]) -> list[Block]:
    sides = [_bins(found, model) for model in ("production", "candidate")]
    if not any(sides):
        return []
    rows = tuple(
        cells(tag, words.share(entry.confidence), words.share(entry.accuracy))
        for tag, side in zip(tags, sides, strict=True)
        for entry in side
    )
    table = Table(
        "How often it was right, by how sure it was", ("Model", "How sure", "How often right"), rows
    )
    picture = reliability(sides[0], sides[1], tags, words.share)
    return [Chart("Calibration: on the dashed line a model is right as often as it says", picture, table)]


def _bins(found: Document, model: str) -> list[Bin]:
    bins = []
    for entry in entries(at(found, model), "bins")[:MOST_BINS]:
        confidence, accuracy = real(entry, "confidence"), real(entry, "accuracy")
        if confidence is not None and accuracy is not None and real(entry, "rows") != 0:
            bins.append(Bin(min(max(confidence, 0.0), 1.0), min(max(accuracy, 0.0), 1.0)))
    return sorted(bins, key=lambda entry: entry.confidence)
