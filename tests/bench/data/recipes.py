"""Imports every module that registers data sets, in the order in which they are worth building."""

from tests.bench.data import image_series

LOADED = (image_series,)
