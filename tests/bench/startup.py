"""How long it takes to start: median of five fresh processes each, after one that warms the disk.

python tests/bench/startup.py --out results/startup.csv
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import pandas as pd
from said import command

from leukocls.core.machine import versions

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
a = ap.parse_args()
lines = {
    'import leukocls': [sys.executable, '-c', 'import leukocls'],
    'leukocls --help': [sys.executable, '-m', 'leukocls', '--help'],
    'leukocls recipes': [sys.executable, '-m', 'leukocls', 'recipes'],
    'from leukocls import train_all': [
        sys.executable,
        '-W',
        'ignore',
        '-c',
        'from leukocls import train_all',
    ],
    'from fastai.vision.all import *': [
        sys.executable,
        '-W',
        'ignore',
        '-c',
        'from fastai.vision.all import *',
    ],
    'python -c pass': [sys.executable, '-c', 'pass'],
}
took = {name: [] for name in lines}
for _ in range(6):  # in turns, so that a slow minute slows all of them
    for name, words in lines.items():
        began = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        took[name].append(time.perf_counter() - began)
rows = [
    dict(
        what=name,
        seconds=round(statistics.median(t[1:]), 3),
        lowest=round(min(t[1:]), 3),
        highest=round(max(t[1:]), 3),
        runs=5,
        cores=os.cpu_count(),
        python=versions()['python'],
        fastai=versions()['fastai'],
        torch=versions()['torch'],
        command=command(),
    )
    for name, t in took.items()
]
pd.DataFrame(rows).to_csv(a.out, index=False)
print(pd.DataFrame(rows)[['what', 'seconds', 'lowest', 'highest']].to_string())
