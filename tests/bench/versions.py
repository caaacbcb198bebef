"""A run from files to report with nothing known before, by two versions of leukocls in turns: what
a change is worth on a machine whose own speed varies.

    python tests/bench/versions.py --data Original --weights WEIGHTS --checkouts OLD NEW \\
        --names e3728d9 7eda3d1 --out results/versions.csv
    python tests/bench/versions.py --data pbc8_sample --weights WEIGHTS --recipe mobilenetv2 \\
        --set epochs=2 --checkouts OLD NEW --names e3728d9 7eda3d1 --out results/versions.csv

OLD and NEW are folders with a checkout each (`git worktree add OLD e3728d9`). Each run is a process
of its own with an empty cache; medians of three turns. Rows of other recipes stay in the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

CODE = """
import json, sys
import leukocls
from leukocls import train_all

data, weights, recipe, settings, out = sys.argv[1:]
run = train_all(data, recipe, weights=weights, out=out, progress=False, **json.loads(settings))[0]
print(leukocls.__file__, run.metrics['accuracy']['value'])
"""


def settings_of(recipe, pairs):
    "What the run is told besides its recipe: near-duplicates together, all of it from one seed."
    told = {'split': 'group', **({'valid_pct': 0} if recipe == 'probe' else {})}
    for pair in pairs:
        name, value = pair.split('=')
        told[name] = json.loads(value)
    return json.dumps(told)


def one_run(checkout, o, settings):
    "Seconds to the report, seconds to the end, processor seconds, accuracy."

    def used():
        return sum(os.times()[2:4])

    with tempfile.TemporaryDirectory() as d:
        began, before = time.time(), used()
        done = subprocess.run(
            [
                *(sys.executable, '-W', 'ignore', '-c', CODE),
                *(o.data, o.weights, o.recipe, settings, f'{d}/runs'),
            ],
            env={
                **os.environ,
                'PYTHONPATH': os.path.abspath(checkout),
                'LEUKOCLS_CACHE': f'{d}/cache',
            },
            capture_output=True,
            text=True,
            # not where the script was called: a checkout there would come before PYTHONPATH
            cwd=d,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        if not done.stdout.split()[-2].startswith(os.path.abspath(checkout)):
            raise SystemExit(f'{done.stdout.split()[-2]} was measured instead of {checkout}.')
        report = next(Path(d).rglob('report.html')).stat().st_mtime
        return report - began, time.time() - began, used() - before, float(done.stdout.split()[-1])


def row(name, runs, o, command):
    "One row of the table: medians, and the range of the seconds."
    to_report = [r[0] for r in runs]
    return dict(
        recipe=o.recipe,
        images=Path(o.data).name,
        version=name,
        seconds_to_report=round(statistics.median(to_report), 2),
        fastest=round(min(to_report), 2),
        slowest=round(max(to_report), 2),
        seconds_to_end=round(statistics.median(r[1] for r in runs), 2),
        processor_seconds=round(statistics.median(r[2] for r in runs), 1),
        accuracy=round(100 * runs[0][3], 2),
        cores=os.cpu_count(),
        command=command,
    )


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--recipe', default='probe')
    ap.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE')
    ap.add_argument('--checkouts', nargs=2, required=True)
    ap.add_argument('--names', nargs=2, required=True)
    ap.add_argument('--times', type=int, default=3)
    ap.add_argument('--out', required=True)
    o = ap.parse_args()
    o.data, o.weights = map(os.path.abspath, (o.data, o.weights))
    settings = settings_of(o.recipe, o.set)
    runs = {n: [] for n in o.names}
    for _ in range(o.times):
        for name, checkout in zip(o.names, o.checkouts):
            runs[name].append(one_run(checkout, o, settings))
            print(name, [round(v, 2) for v in runs[name][-1]], flush=True)
    command = (
        f'python tests/bench/versions.py --data {Path(o.data).name}'
        f' --weights {Path(o.weights).name} --recipe {o.recipe}'
        f'{" --set " + " ".join(o.set) if o.set else ""}'
        f' --checkouts OLD NEW --names {" ".join(o.names)} --out {o.out}'
    )
    table = pd.DataFrame([row(n, runs[n], o, command) for n in o.names])
    if Path(o.out).is_file():
        before = pd.read_csv(o.out)
        of_others = (before.recipe != o.recipe) | (before.images != Path(o.data).name)
        table = pd.concat([before[of_others], table])
    table.to_csv(o.out, index=False, lineterminator='\n')


if __name__ == '__main__':
    main()
