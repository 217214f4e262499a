"""A whole collection in, a copy or a judgement out: ``backup`` and restore, ``verify``, ``transfer`` to and from Parquet."""
