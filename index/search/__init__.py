"""A query vector in, its nearest items out: over segments on disk and what changed since, exactly or with an index, filtered.

``searcher`` puts it together; ``planner`` chooses an index, ``approximate`` builds, measures and searches it.
"""
