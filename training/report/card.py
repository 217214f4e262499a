"""Facts in, ``MODEL_CARD.md`` out: what a bundle is for, what it is worth, where it fails. Mitchell et al., "Model Cards for
Model Reporting", 2019."""

import re
from collections.abc import Iterator, Sequence

from model.bundle import Manifest

from ..watch import counted, duration
from .facts import Estimate, Facts, Table
from .words import interval, short, signed

FILE = "MODEL_CARD.md"


def card(facts: Facts) -> str:
    sections = [
        (facts.name, [" ".join(facts.summary)]),
        ("What it is for", _use(facts)),
        ("What it learnt from", _data(facts)),
        ("How it was trained", _training(facts)),
        ("What it is worth", list(_figures(facts))),
        ("Where it fails", list(_failures(facts))),
        ("How to use it", list(_USAGE)),
    ]
    return _written(sections)


def _written(sections: Sequence[tuple[str, list[str]]]) -> str:
    written = [
        f"{'#' if place == 0 else '##'} {plain(title)}\n\n" + "\n\n".join(parts)
        for place, (title, parts) in enumerate(sections)
    ]
    return "\n\n".join(written) + "\n"


def card_of_backbone(manifest: Manifest) -> str:
    """Of a bundle that learnt nothing: no figure can be given."""
    size, known = manifest.transform.size, manifest.architecture
    kind = f"It is {known.backbone} as it is, without any training on labels of yours."
    purpose = (
        "Given a picture, find those that look alike. The network turns a picture of "
        f"{size} × {size} pixels into a vector of {known.dim:,} numbers. What counts as alike is what helped it to tell the "
        "classes apart that its weights were made for, mostly those of ImageNet: things and animals in photographs."
    )
    return _written(
        [
            (manifest.name, [kind]),
            ("What it is for", [purpose, _NOT_FOR]),
            ("What it learnt from", [_started(manifest.origin)]),
            ("What it is worth", [_UNMEASURED]),
            ("How to use it", list(_USAGE)),
        ]
    )


def plain(text: object) -> str:
    """What comes from the data, as Markdown shows it: as it is, short, in one line."""
    return _escaped(short(text))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", text)


def _use(facts: Facts) -> list[str]:
    return [
        "Given a picture, find those that show the same kind of thing. The network turns a picture of "
        f"{facts.size} × {facts.size} pixels into a vector of {facts.dim} numbers; the nearer two vectors, the more alike the "
        "pictures. What counts as alike it learnt from the labels of the data below: use it on pictures of that sort.",
        f"{_NOT_FOR} On pictures of another sort than those it learnt from, its figures and its confidence say nothing.",
    ]


def _data(facts: Facts) -> list[str]:
    classes, images = facts.learnt
    said = f"The data set {plain(facts.data)}: {counted(images, 'image')} of {counted(classes, 'class', 'es')}."
    counts = [f"{plain(licence)} ({counted(count, 'image')})" for licence, count in facts.licences.counts]
    counts += [f"others ({counted(facts.licences.others, 'image')})"] if facts.licences.others else []
    licences = ", ".join(counts) if counts else "" if facts.licences.files else "not stated"
    parts = [f"Licences of the images, as the data set states them: {licences}."] if licences else []
    if facts.licences.files:
        parts.append(f"The data set's folder says more in {', '.join(map(plain, facts.licences.files))}.")
    return [said, " ".join(parts), _started(facts.origin)]


def _training(facts: Facts) -> list[str]:
    took = "" if facts.seconds is None else f" It took {duration(facts.seconds)}."
    changed = [f"`{each.name} = {each.value}`" for each in facts.settings if each.changed]
    said = "All settings are the defaults." if not changed else f"Settings that are not the defaults: {', '.join(changed)}."
    made = ", ".join(f"{package} {number}" for package, number in facts.versions.items())
    return [f"{facts.backbone} with a head of {facts.dim} dimensions, trained on labels.{took} {said}", f"Made with {made}."]


def _figures(facts: Facts) -> Iterator[str]:
    classes, queries, _ = facts.tested
    yield (
        f"Tested with {counted(queries, 'image')} of {counted(classes, 'class', 'es')}, each of which asked for its like. In "
        "brackets are 95 % intervals over classes."
    )
    for table in facts.tables:
        if table.by:
            yield f"With hits of the same {plain(table.by)} left out:"
        yield _table(table)
    if facts.final_fit:
        yield f"These are the figures of the network `{facts.fingerprint[:16]}`, before it learnt anew from all classes."


def _table(table: Table) -> str:
    lines = ["| figure | trained | backbone as it is | gain |", "| --- | --- | --- | --- |"]
    for row in table.rows:
        gain = f"{signed(row.gain.value)} ({interval(row.gain, '+.3f')})" if row.gain else ""
        lines.append(f"| {row.name}: {row.means} | {_estimate(row.trained)} | {_estimate(row.backbone)} | {gain} |")
    return "\n".join(lines)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f}" + (f" ({interval(estimate)})" if estimate.interval else "")


def _failures(facts: Facts) -> Iterator[str]:
    lines = ["| class | R@1 | MAP@R | queries |", "| --- | --- | --- | --- |"]
    lines += [f"| {plain(name)} | {first:.3f} | {ordered:.3f} | {count:,} |" for name, first, ordered, count in facts.worst]
    yield "The classes that are found worst:"
    yield "\n".join(lines)
    if facts.confusions:
        yield "Classes that are taken for each other most often:"
        yield "\n".join(
            f"- {plain(each.one)} and {plain(each.other)}: {each.count:,} of {each.queries:,} queries found the other first"
            for each in facts.confusions
        )
    if facts.reliability is None:
        yield "Its confidence was not measured."
        return
    trust = facts.reliability.figures()
    more = "" if trust["brier"] < trust["brier_of_constant"] else " It tells no more than a constant would: do not rely on it."
    yield (
        f"Confidence: on average {100 * trust['ece']:.1f} points off (expected calibration error {trust['ece']:.3f}), mean "
        f"squared error {trust['brier']:.3f} (a constant: {trust['brier_of_constant']:.3f}), over {trust['hits']:,} hits."
        f"{more} It holds for collections like the tested one, where half of the questions have an answer."
    )


def _started(origin: str) -> str:
    return f"Weights that it started from: {_escaped(origin) or 'not stated'}."


_NOT_FOR = (
    "It is not for deciding about people, for recognising faces, or for anything where a wrong hit does harm that nobody "
    "looks at first."
)
_UNMEASURED = (
    "That depends on your pictures, and was not measured. `lookalike evaluate this-bundle --data your-labels` does, and "
    "`lookalike train` learns from your labels what counts as alike; hits have no confidence before that."
)
_USAGE = (
    "```sh\nlookalike index pictures/ --bundle this-bundle --to collection   # find and encode all pictures of a folder\n"
    "lookalike serve collection                                       # a page and POST /search\n```",
    "Vectors can be compared only with those of a bundle that has the same fingerprint; it is in `bundle.json`.",
)
