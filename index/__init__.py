"""A gallery in, a searchable collection on disk out, and the search over it. Importing this room never imports torch.

One-way: ``upkeep`` and ``duplicates`` → ``job`` → ``lifecycle`` → ``search`` → ``catalog`` and ``gallery``. Beside them what is
on disk: ``generation`` (what belongs together), ``blobs`` (uploaded pictures), ``lock``.
"""
