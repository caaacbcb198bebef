"""The driver of tests/bench/cluster.py: rows, seconds, megabytes before the first image and at most.

With the word `made-up`, workers write answers without looking at an image, so that the memory of the
driver can be seen with a million images: it lists them, gives out blocks and joins parts as ever.
"""

import re
import sys
import time
from pathlib import Path

import pyarrow as pa

from leukocls.deploy import cluster as deployed
from leukocls.deploy.classifier import Classifier


def largest():
    "Of this program; what `resource` tells may be of the one that started it."
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


class MadeUp(deployed._Answers):
    def __call__(self, block):
        schema = deployed._schema(self.clf.classes)
        names = [name for name, _ in block.images]
        columns = [names, *([None] * len(names) for _ in schema.names[1:])]
        table = pa.table(dict(zip(schema.names, columns)), schema=schema)
        return deployed.parquet_bytes(table), table.num_rows


class MadeUpThere(deployed._OpenedThere):
    def __call__(self):
        opened = super().__call__()
        return MadeUp(opened.clf, opened.home)


bundle, images, out, address, *how = sys.argv[1:]
if how:
    deployed._OpenedThere = MadeUpThere
if address:
    import ray

    ray.init(address, log_to_driver=False, logging_level='ERROR')
    import ray.data  # noqa: F401 - only to have it imported
clf = Classifier.load(bundle)
before, began = largest(), time.perf_counter()
n = deployed.classify_places(clf, [images], out, address or None, progress=False)
print(n, time.perf_counter() - began, before, largest())
