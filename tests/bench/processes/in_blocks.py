"""A driver of tests/bench/cluster.py: cuts fields, computes features or audits, on a cluster or here.

Prints how many rows came of it, seconds, and megabytes before the first image and at most.

    in_blocks.py cells|features|audit IMAGES OUT ADDRESS [WEIGHTS]
"""

import re
import sys
import time
from pathlib import Path

from leukocls.audit.findings import audit
from leukocls.data.crops import crop_cells
from leukocls.deploy.features import write_features
from leukocls.train.recipes import get_recipe


def largest():
    "Of this program; what `resource` tells may be of the one that started it."
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


def work(what, images, out, cluster, weights=None):
    if what == 'cells':
        return len(crop_cells(images, out, cluster=cluster, block=8, progress=False))
    if what == 'features':
        probe = get_recipe('probe', arch='test_efficientnet', size=64)
        return write_features(
            [images], out, probe, weights, cluster=cluster, block=100, progress=False
        )
    found = audit(images, cluster=cluster, progress=False)
    found.data['seconds'] = 0
    found.to_json(out)
    return found.data['n']


if __name__ == '__main__':
    what, images, out, address, *weights = sys.argv[1:]
    if address:
        import ray

        ray.init(address, log_to_driver=False, logging_level='ERROR')
        import ray.data  # noqa: F401 - only to have it imported
    before, began = largest(), time.perf_counter()
    n = work(what, images, out, address and 'auto' or None, *weights)
    print(n, time.perf_counter() - began, before, largest())
