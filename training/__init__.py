"""Labelled images in, a bundle out. Needs the extra ``train``."""
