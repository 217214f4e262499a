"""How Lookalike's training compares with the trainers that people would otherwise use: ``python -m bench.peers``.

Every contender is a script as its user would write it (``with_…``): it reads the same ``labels.csv``, starts from the same
weights, sees pictures of 96 pixels, learns for the same minutes and writes vectors of classes that it did not learn from.
``given`` has what all of them are handed, ``pictures`` the data, ``contenders`` what is tried of each; ``process`` runs a
script and measures it.

Not here, as of 2026-11, with what pip says beside torch 2.14 and Python 3.11:

- fastreid 1.4.0: its requirements conflict with this torch, and no other release is on PyPI.
- quaterion 0.1.35: needs a Python before 3.11.
- finetuner: the newest that resolves, 0.7.6, wants pydantic 1; Lookalike needs 2.
- powerful-benchmarker 0.9.33: wants pytorch-metric-learning 0.9 and a GPU's faiss.
- tensorflow-similarity 0.17.1: TensorFlow, so the same weights and layers cannot be given to it.
- torchreid 0.2.5: installs, but trains its own networks on data sets of people that it knows by name.
"""
