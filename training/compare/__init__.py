"""Labelled images in, the same training by SoftTriple and by other losses out, with figures that can be compared.

``baselines`` (the losses), ``stages`` (what is trained: heads, networks), ``protocol`` (trials, frozen settings, runs),
``differences`` (what follows from the runs).
"""
