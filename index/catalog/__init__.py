"""The durable record of items, keys, vectors and changes: the truth, in ``catalog.sqlite`` on a local disk.

``Catalog`` is what searches, the service and jobs ask; ``Upkeep`` adds what is asked at night and in need. Below them:
``database`` (transactions), ``queries`` (statements), ``records`` (what is told), ``schema`` (tables and migrations).
"""

from .catalog import Catalog
from .database import FILE, DiskFull, ReadOnly
from .queries import batched
from .records import (
    BARE,
    Change,
    Delete,
    Done,
    Edit,
    Fault,
    Item,
    Job,
    Known,
    NewItem,
    Numbers,
    Patch,
    Put,
    Refused,
    State,
    content_of,
)
from .schema import API, API_ORIGIN, CatalogError
from .upkeep import Upkeep

__all__ = [
    "API",
    "API_ORIGIN",
    "BARE",
    "FILE",
    "Catalog",
    "CatalogError",
    "Change",
    "Delete",
    "DiskFull",
    "Done",
    "Edit",
    "Fault",
    "Item",
    "Job",
    "Known",
    "NewItem",
    "Numbers",
    "Patch",
    "Put",
    "ReadOnly",
    "Refused",
    "State",
    "Upkeep",
    "batched",
    "content_of",
]
