"""Imports every module that registers data sets, in the order in which the data sets should be built."""

from tests.bench.data import access_logs, disk_image, image_series, logs, nightly, packages, plain_files, python_base

LOADED = (image_series, disk_image, packages, logs, access_logs, plain_files, nightly, python_base)
