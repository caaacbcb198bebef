"The driver of tests/bench/cluster.py: rows, seconds, megabytes before the first image and at most."

import re
import sys
import time
from pathlib import Path

from leukocls.deploy.classifier import Classifier
from leukocls.deploy.cluster import classify_places


def largest():
    "Of this program; what `resource` tells may be of the one that started it."
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


bundle, images, out, cluster = sys.argv[1:]
if cluster:
    import ray

    ray.init(cluster, log_to_driver=False, logging_level='ERROR')
    import ray.data  # noqa: F401 - only to have it imported
clf = Classifier.load(bundle)
before, began = largest(), time.perf_counter()
n = classify_places(clf, [images], out, cluster or None, progress=False)
print(n, time.perf_counter() - began, before, largest())
