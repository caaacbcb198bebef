"""Peak memory of predicting 1,700 and 17,000 images, each in a fresh process.

python tests/bench/memory.py --weights WEIGHTS --data taleqani/Original --out results/memory.csv
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from said import command

ap = argparse.ArgumentParser()
ap.add_argument('--weights', required=True)
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
a = ap.parse_args()
PREDICT = Path(__file__).parent / 'processes' / 'predict_many.py'
rows = []
with tempfile.TemporaryDirectory() as d:
    for n in (1700, 17000):
        mb = float(
            subprocess.run(
                [
                    sys.executable,
                    '-W',
                    'ignore',
                    str(PREDICT),
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
