"""Who is compared, and what is tried of each.

Tuning is the same for all: the first trial is what is documented, and each further one changes the best so far by the next of
``changes``. So a contender gets as many trials, of as many minutes, as any other.
"""

import io
import tokenize
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

Settings = dict[str, Any]
_HERE = Path(__file__).parent
_SHARED = "from bench.peers import "
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True)
class Contender:
    """``requirements``: a list of packages that are installed beside the others; ``user_lines``: where the script is not what
    its user writes; ``learns``: False for what only shows where all start."""

    name: str
    module: str
    package: str = ""
    changes: tuple[Settings, ...] = ()
    requirements: Path | None = None
    user_lines: int | None = None
    learns: bool = True

    @property
    def lines(self) -> int:
        """That a user writes."""
        return lines_of(_HERE / f"{self.module}.py") if self.user_lines is None else self.user_lines

    @property
    def version(self) -> str:
        if self.requirements is None:
            return f"{self.package} {version(self.package)}" if self.package else ""
        pinned = dict(line.split("==") for line in self.requirements.read_text().split())
        return f"{self.package} {pinned[self.package]}"


CONTENDERS = {
    each.name: each
    for each in (
        Contender("backbone", "with_nothing", learns=False),
        Contender(
            "lookalike",
            "with_lookalike",
            changes=({"learning_rate": 2e-3}, {"learning_rate": 5e-4}, {"batch": 32}, {"balance": 1.0}, {"centers": 1}),
            user_lines=1,
        ),
        Contender(
            "pml",
            "with_pml",
            "pytorch-metric-learning",
            changes=(
                {"trunk_rate": 1e-4, "embedder_rate": 1e-3},
                {"loss": "multi-similarity"},
                {"trunk_rate": 5e-4, "embedder_rate": 5e-3},
                {"freeze_norm": 1},
                {"per_class": 2},
            ),
        ),
        Contender(
            "oml",
            "with_oml",
            "open-metric-learning",
            changes=(
                {"normalise": 1, "hard": 1, "margin": 0.15, "crops": 1, "workers": 2},
                {"rate": 5e-4},
                {"hard": 0},
                {"margin": 0.3},
                {"per_class": 2},
            ),
            requirements=_HERE / "oml.txt",
        ),
    )
}


def tune(changes: Sequence[Settings], trials: int, judge: Callable[[int, Settings], float]) -> Settings:
    """The best of ``trials`` settings; ``judge``: number of the trial, settings → how good they are."""
    best: Settings = {}
    most = judge(0, best)
    for number, change in enumerate(changes[: trials - 1], 1):
        settings = best | change
        if (found := judge(number, settings)) > most:
            best, most = settings, found
    return best


def lines_of(script: Path) -> int:
    """Lines with code: no blank ones, comments, first string, or imports of what all contenders are handed."""
    text = script.read_text(encoding="utf-8")
    found: set[int] = set()
    for place, token in enumerate(tokenize.generate_tokens(io.StringIO(text).readline)):
        if token.type not in _NO_CODE and not (place == 0 and token.type == tokenize.STRING):
            found.update(range(token.start[0], token.end[0] + 1))
    return sum(not line.startswith(_SHARED) for number, line in enumerate(text.splitlines(), 1) if number in found)
