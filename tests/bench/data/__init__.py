"""Real test data, built from Debian, PyPI, npm and Go packages by the scripts in this folder.

``python -m tests.bench.data build NAME`` builds a data set into ``${REDUCTO_BENCH_DATA}`` (default
``~/.cache/reducto-bench``), and ``list`` lists all data sets. From code: ``dataset("image-series")``.
"""

from tests.bench.data.cache import Dataset, dataset

__all__ = ["Dataset", "dataset"]
