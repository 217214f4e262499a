"""A collection in, clusters of copies of one picture out (``duplicates``), by how alike two pictures look (``alikeness``)."""

from .duplicates import Cluster, Copy, Duplicates, DuplicatesError, Picture, find

__all__ = ["Cluster", "Copy", "Duplicates", "DuplicatesError", "Picture", "find"]
