"""How far the two models' answers differ, beyond noise, and where."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.pictures.charts.bars import Bar, bars
from service.http.console import words
from service.http.console.blocks import Beside, Block, Cell, Chart, Facts, Part, Table, Words, cells, few
from service.http.console.reading import Document, at, entries, mapping, real, text

MOST_CLASSES = 12
MOST_BESIDE = 6
"""Classes of a matrix that has room beside other blocks."""
MOST_SLICES = 25
MOST_FOUND = 10
MOST_BUCKETS = 24
OF_PROBABILITIES = "A row's gap is the largest difference of its probabilities, from 0 to 1."
OF_VALUES = (
    "Gaps are told in spreads: 1 is the standard deviation of production's answers to the reference data."
)


def difference(candidate: Document) -> Part | None:
    """Flips, gaps and everything else that is said of all compared rows."""
    found = mapping(candidate, "evidence", "measures")
    noise, beyond = mapping(candidate, "evidence", "noise"), mapping(candidate, "evidence", "beyond_noise")
    flips, left = _flips(mapping(found, "flips")), _told(found)
    wide = [block for block in flips if isinstance(block, Table) and len(block.head) > MOST_BESIDE + 1]
    left = left if wide else [*flips, *left]
    right = [*_histogram(entries(found, "gap", "histogram")), *_noise(noise, beyond)]
    if not wide and not left:
        return None
    if "gap" in found:
        right.insert(0, Words(OF_PROBABILITIES if "flips" in found else OF_VALUES, "quiet"))
    return Part("How far the answers differ", (*wide, Beside((tuple(left), tuple(right)))))


def slices(candidate: Document) -> Part | None:
    """Declared parts of the traffic, and the worst ones that were found."""
    declared = mapping(candidate, "evidence", "slices")
    blocks: list[Block] = []
    if declared:
        overall = mapping(candidate, "evidence", "measures", "flips")
        usual = real(overall, "rate")
        rows = tuple(
            _slice(name, mapping(part), usual) for name, part in list(declared.items())[:MOST_SLICES]
        )
        note = few(len(declared), MOST_SLICES, "slices")
        head = ("Slice", "Rows", "Other label", "Mean gap", "Labelled", "Accuracy gained or lost")
        blocks.append(Table("Declared slices", head, rows, note))
    blocks += _worst(mapping(candidate, "evidence", "worst_slices"))
    return Part("Slices", tuple(blocks)) if blocks else None


def matrix(pairs: Sequence[tuple[str, str, float]], caption: str, head: str) -> Table:
    """From each class to each other, darker where there are more rows."""
    weights: dict[str, float] = {}
    for before, after, many in pairs:
        weights[before] = weights.get(before, 0.0) + many
        weights[after] = weights.get(after, 0.0) + many
    names = sorted(sorted(weights), key=lambda name: -weights[name])
    shown = sorted(names[:MOST_CLASSES])
    by_pair = {(before, after): many for before, after, many in pairs}
    most = max((many for _, _, many in pairs), default=0.0) or 1.0

    def cell(before: str, after: str) -> Cell:
        many = by_pair.get((before, after), 0.0)
        if before == after:
            return Cell(words.NONE, number=True)
        return Cell(words.count(many), number=True, shade=min(5, int(5 * many / most + 0.999)))

    rows = tuple((Cell(before), *(cell(before, after) for after in shown)) for before in shown)
    note = few(len(names), MOST_CLASSES, "classes that took part")
    return Table(caption, (head, *shown), rows, note)


def _flips(flips: Document) -> list[Block]:
    pairs = [
        (before, after, many)
        for entry in entries(flips, "matrix")
        if (before := text(entry, "from")) is not None
        and (after := text(entry, "to")) is not None
        and (many := real(entry, "rows")) is not None
    ]
    if pairs:
        caption = "Rows with another label: production's in the row, the candidate's in the column"
        return [matrix(pairs, caption, "From, to")]
    if real(flips, "rate") == 0:
        return [Words("No compared row got another label.")]
    return []


def _histogram(buckets: Sequence[Document]) -> list[Block]:
    found = [(real(entry, "at_most"), real(entry, "rows") or 0.0) for entry in buckets[:MOST_BUCKETS]]
    filled = [place for place, (_, rows) in enumerate(found) if rows > 0]
    if not filled:
        return []
    first, last = max(filled[0] - 1, 0), filled[-1] + 1
    whole = sum(rows for _, rows in found)
    shown = [
        Bar(_bucket(at_most, place), rows, f"{words.count(rows)} · {words.share(rows / whole)}")
        for place, (at_most, rows) in enumerate(found)
        if first <= place < last
    ]
    title = "Gap between the two scores"
    table = Table(
        title, ("Gap", "Rows"), tuple(cells(entry.name, words.count(entry.length)) for entry in shown)
    )
    return [Chart(f"{title}, rows by size", bars(shown, f"{title}, rows"), table)]


def _bucket(at_most: float | None, place: int) -> str:
    if at_most is None:
        return "larger"
    return "none at all" if place == 0 and at_most == 0 else f"up to {words.amount(at_most)}"


def _told(found: Document) -> list[Block]:
    """Measures that are told in one line each; those that say nothing are left out."""
    said = [
        ("Rows with another label", words.share(real(found, "flips", "rate"))),
        ("Mean gap of the scores", words.amount(real(found, "gap", "mean"))),
        ("Mean gap with its sign", words.signed(real(found, "gap", "signed_mean"))),
        ("Total variation, mean", words.amount(real(found, "total_variation", "mean"))),
        ("Kullback-Leibler divergence, mean bits", words.amount(real(found, "kl", "mean"))),
        ("Within the tolerance", words.share(real(found, "tolerance", "share"))),
        ("Mean absolute difference", words.amount(real(found, "numeric_gap", "mean_absolute"))),
        ("Mean relative difference", words.share(real(found, "numeric_gap", "mean_relative"))),
        ("Rank correlation (Spearman)", words.amount(real(found, "rank", "spearman"))),
        ("Rank correlation (Kendall)", words.amount(real(found, "rank", "kendall"))),
        ("Overlap of what both hold possible", words.share(real(found, "region_overlap", "mean"))),
        ("Both hold the same possible", words.share(real(found, "region_overlap", "same"))),
        ("Beyond both models' stated uncertainty", words.share(real(found, "beyond", "share"))),
    ]
    known = tuple((name, value) for name, value in said if value != words.NONE)
    return [Facts(known)] if known else []


def _noise(noise: Document, beyond: Document) -> list[Block]:
    variants = mapping(noise, "variants")
    share, low, high = (real(beyond, key) for key in ("share", "low", "high"))
    if share is not None:
        bound = f" ({words.span(words.share, low, high)})" if low is not None else ""
        blocks: list[Block] = [
            Words(
                f"{words.share(share)} of the rows{bound} differ by more than production differs from itself."
            )
        ]
    else:
        blocks = []
    if not variants:
        said = "Production has not been compared with itself yet, so nothing is known of the noise."
        return [*blocks, Words(said, "quiet")]
    rows = tuple(
        cells(
            words.VARIANTS.get(str(name), str(name)),
            words.count(real(found, "rows")),
            words.share(real(found, "flips", "rate")),
            words.amount(real(found, "gap", "mean")),
        )
        for name, found in list(variants.items())[:8]
    )
    head = ("Production again", "Rows", "Other label", "Mean gap")
    return [*blocks, Table("Noise: production against itself", head, rows)]


def _slice(name: str, part: Document, usual: float | None) -> tuple[Cell, ...]:
    rate = real(part, "flips", "rate")
    within = real(part, "tolerance", "share")
    if rate is None and within is not None:
        rate = 1.0 - within
    shade = 0
    if rate is not None and usual and rate > usual:
        shade = min(5, int(rate / usual))
    return (
        Cell(str(name)[:80]),
        Cell(words.count(real(part, "rows")), number=True),
        Cell(words.share(rate), number=True, shade=shade),
        Cell(words.amount(real(part, "gap", "mean")), number=True),
        Cell(words.count(real(part, "labelled", "rows")), number=True),
        Cell(words.points(real(part, "labelled", "accuracy", "difference")), number=True),
    )


def _worst(worst: Document) -> list[Block]:
    found, looks = entries(worst, "found"), real(worst, "looks")
    gaps = at(worst, "of") == "gap"
    write = words.amount if gaps else words.share
    if not found:
        if not looks:
            return []
        return [
            Words(f"Looked at {words.count(looks)} bins of the reference data: none stands out.", "quiet")
        ]
    rows = tuple(
        (
            Cell(f"{words.variable(text(entry, 'variable'))}: {words.bin_of(text(entry, 'label'))}"),
            Cell(words.count(real(entry, "rows")), number=True),
            Cell(write(real(entry, "rate")), number=True),
            Cell(words.span(write, real(entry, "low"), real(entry, "high")), number=True),
            Cell(write(real(entry, "rest_rate")), number=True),
        )
        for entry in found[:MOST_FOUND]
    )
    note = f"Found among {words.count(looks)} bins; the bounds allow for so many looks." if looks else ""
    head = ("Bin", "Rows", "Mean gap" if gaps else "Other label", "Bounds", "In the rest")
    return [Table("Found by looking at every bin", head, rows, note)]
