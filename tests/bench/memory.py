"""Peak memory of predicting 1,700 and 17,000 images, each in a fresh process.

python tests/bench/memory.py --weights WEIGHTS --data taleqani/Original --out results/memory.csv
"""

import argparse
import subprocess
import sys
import tempfile

import pandas as pd
from said import command

ap = argparse.ArgumentParser()
ap.add_argument('--weights', required=True)
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
a = ap.parse_args()
code = '''import itertools, resource, sys
from leukocls.data import read_table
from leukocls.loaders import CellDataLoaders
from leukocls.models import cell_learner
from leukocls.predict import predict_to
from leukocls.splits import split_table
data, weights, n, out = sys.argv[1:]
t = split_table(read_table(data)); learn = cell_learner(CellDataLoaders.from_table(t, device='cpu'), 'mobilenetv2_100', weights, fp16=False)
predict_to(learn, itertools.islice(itertools.cycle(t.path), int(n)), out); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1000)'''
rows = []
with tempfile.TemporaryDirectory() as d:
    for n in (1700, 17000):
        mb = float(
            subprocess.run(
                [
                    sys.executable,
                    '-W',
                    'ignore',
                    '-c',
                    code,
                    a.data,
                    a.weights,
                    str(n),
                    f'{d}/{n}.csv',
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        rows.append(dict(images=n, peak_mb=round(mb), command=command()))
pd.DataFrame(rows).to_csv(a.out, index=False)
print(rows)
