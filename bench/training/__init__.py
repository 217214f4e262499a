"""What training is worth, measured row by row: ``python -m bench.training --list`` says which rows there are.

A row asks one question of several variants; a cell is one variant with one seed. ``cells`` keeps what was measured, ``sets``
has the pictures, ``figures`` the ways to measure a network, ``tables`` prints; every other module is a question.
"""
