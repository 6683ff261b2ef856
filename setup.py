"""Builds the C kernel through cffi; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["cext/build_kernel.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
