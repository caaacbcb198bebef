"""A probe from files to report with nothing known before, by two versions of leukocls in turns:
what a change is worth on a machine whose own speed varies.

    python tests/bench/versions.py --data Original --weights WEIGHTS --checkouts OLD NEW \\
        --names 1460bac fe7fe66 --out results/versions.csv

OLD and NEW are folders with a checkout each (`git worktree add OLD 1460bac`). Each run is a process
of its own with an empty cache; medians of three turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

CODE = (
    'import sys; from leukocls.runs.experiment import train_all; print(train_all(sys.argv[1], "probe",'
    ' weights=sys.argv[2], split="group", valid_pct=0, out=sys.argv[3],'
    ' progress=False)[0].metrics["accuracy"]["value"])'
)

if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--checkouts', nargs=2, required=True)
    ap.add_argument('--names', nargs=2, required=True)
    ap.add_argument('--times', type=int, default=3)
    ap.add_argument('--out', required=True)
    o = ap.parse_args()
    took = {n: [] for n in o.names}

    def used():
        return sum(os.times()[2:4])

    for _ in range(o.times):
        for name, folder in zip(o.names, o.checkouts):
            with tempfile.TemporaryDirectory() as d:
                began, before = time.time(), used()
                done = subprocess.run(
                    [sys.executable, '-W', 'ignore', '-c', CODE, o.data, o.weights, f'{d}/runs'],
                    env={
                        **os.environ,
                        'PYTHONPATH': os.path.abspath(folder),
                        'LEUKOCLS_CACHE': f'{d}/cache',
                    },
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    raise SystemExit(done.stderr)
                took[name].append(
                    (
                        next(Path(d).rglob('report.html')).stat().st_mtime - began,
                        used() - before,
                        float(done.stdout.split()[-1]),
                    )
                )
                print(name, [round(v, 2) for v in took[name][-1]], flush=True)
    command = (
        f'python tests/bench/versions.py --data {Path(o.data).name} --weights'
        f' {Path(o.weights).name} --checkouts OLD NEW --names {" ".join(o.names)} --out {o.out}'
    )
    pd.DataFrame(
        [
            dict(
                version=n,
                seconds_to_report=round(statistics.median(r[0] for r in rows), 2),
                fastest=round(min(r[0] for r in rows), 2),
                slowest=round(max(r[0] for r in rows), 2),
                processor_seconds=round(statistics.median(r[1] for r in rows), 1),
                accuracy=round(100 * rows[0][2], 2),
                cores=os.cpu_count(),
                command=command,
            )
            for n, rows in took.items()
        ]
    ).to_csv(o.out, index=False, lineterminator='\n')
