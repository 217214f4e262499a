"""How many vectors, how long, how much memory and which recall in; which index to build and how hard to search it out.

Pure functions: what they say is tried and measured by ``approximate``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

FLAT = "Flat"
RECALL = 0.95  # asked for where nobody says otherwise

_EXACT_BELOW = 2**22  # numbers in all vectors: so few are searched exactly in about a millisecond
_LINKS, _MORE_LINKS = 24, 32  # of a node in a graph
_MORE_ABOVE = 0.98  # recall
_WIDTHS = (10, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_A_CELL = 39  # vectors that a cell is learnt from at least; with fewer faiss warns
_CROSSING = 20  # vectors that are compared in the time of one step through a graph


@dataclass(frozen=True)
class Aim:
    """``recall``: the share of the ten nearest that is to be found; ``memory``: bytes that an index may take, None for any."""

    recall: float = RECALL
    memory: int | None = None


@dataclass(frozen=True)
class Plan:
    """``factory``: a name that ``faiss.index_factory`` understands; ``efforts``: how hard to search, rising: nodes that a walk
    through a graph keeps in mind, or cells that are looked into; ``bytes``: that the index takes beside the vectors."""

    factory: str
    efforts: tuple[int, ...] = ()
    bytes: int = 0

    @property
    def flat(self) -> bool:
        return self.factory == FLAT


def plan(count: int, dim: int, aim: Aim) -> Plan:
    """The quickest index for ``count`` vectors of ``dim`` numbers that fits into the memory; exact search where nothing does,
    where the vectors are few, or where a recall of 1 is asked for."""
    if count * dim <= _EXACT_BELOW or aim.recall >= 1:
        return Plan(FLAT)
    fitting = (each for each in _by_speed(count, dim, aim.recall) if aim.memory is None or each.bytes <= aim.memory)
    return next(fitting, Plan(FLAT))


def _by_speed(count: int, dim: int, recall: float) -> Iterator[Plan]:
    links = _MORE_LINKS if recall > _MORE_ABOVE else _LINKS
    a_node = dim + 4 * 2 * links * 1.06 + 24  # codes of a byte a number, links of all levels, offsets, rows
    yield Plan(f"HNSW{links}_SQ8_direct_signed", _WIDTHS, round(count * a_node))
    cells = min(2 ** round(math.log2(4 * math.sqrt(count))), 2 ** int(math.log2(count / _A_CELL)))
    looked_into = tuple(2**power for power in range(int(math.log2(cells)) + 1))
    for share in (2, 4):  # numbers that four bits stand for
        if pieces := _pieces(dim, dim // share):
            learnt = 4 * dim * (cells + 16)
            yield Plan(f"IVF{cells},PQ{pieces}x4fs", looked_into, round(count * (pieces / 2 + 8) + learnt))


def _pieces(dim: int, most: int) -> int:
    """Into how many equal pieces a vector is cut, at most; 0 where there are no such."""
    fitting = [pieces for pieces in range(2, most + 1, 2) if dim % pieces == 0]
    return max(fitting, default=0)


def exactly(passing: int, count: int, effort: int) -> bool:
    """Whether to compare all of the ``passing`` rows of ``count`` is quicker than to search for them with ``effort``, most of
    which goes to rows that do not pass."""
    return passing * passing <= _CROSSING * effort * count
