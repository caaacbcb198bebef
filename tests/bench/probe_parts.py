"""Where the time of a probe goes, from files to report with nothing known before: seconds and
processor seconds of each part, medians of three fresh processes.

    python tests/bench/probe_parts.py --data Original --weights WEIGHTS \\
        --out results/probe-parts.csv

The parts follow each other. What the process that chooses the engine does meanwhile is a line of
its own, and its seconds are not the run's. The cores have work for all processor seconds together,
so no order of the parts is faster than those divided by the cores.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS, LOOK, COPIES, ENGINE, FEATURES, HEAD, REPORT, AFTER, ASIDE = PARTS = (
    'imports, reading the table',
    'looking at each image',
    'near-duplicates',
    'waiting for the engine, loading it',
    'features',
    'head',
    'measures, shortcuts, plots, report',
    'after the report: learner.pkl',
    'meanwhile: converting the network, choosing the engine',
)


def inside(data, weights, out):
    "One run in this process: {part: (seconds, processor seconds)}."
    began = time.perf_counter()

    def clock():
        return (time.perf_counter() - began, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))

    took = {}

    def add(part, seconds, sign=1):
        took[part] = tuple(a + sign * b for a, b in zip(took.get(part, (0, 0)), seconds))

    def timed(where, name, part, within=None):
        f = getattr(where, name)

        def g(*args, **kwargs):
            took.setdefault(IMPORTS, clock())
            start = clock()
            try:
                return f(*args, **kwargs)
            finally:
                own = [b - a for a, b in zip(start, clock())]
                add(part, own)
                if within:
                    add(within, own, -1)

        setattr(where, name, g)

    import leukocls.data.splits
    import leukocls.models.frozen
    import leukocls.runs.experiment
    import leukocls.train.probe

    for where, name, part, within in (
        (leukocls.runs.experiment, 'survey_images', LOOK, None),
        (leukocls.data.splits, 'near_duplicates', COPIES, None),
        (leukocls.models.frozen.FrozenBody, '__call__', FEATURES, None),
        (leukocls.models.frozen.FrozenBody, '_choose', ENGINE, FEATURES),
        (leukocls.train.probe, 'known_head', HEAD, None),
        (leukocls.train.probe, '_learner', AFTER, None),
    ):
        timed(where, name, part, within)
    accuracy = leukocls.runs.experiment.train_all(
        data, 'probe', weights=weights, split='group', valid_pct=0, out=out, progress=False
    )[0].metrics['accuracy']['value']
    whole = clock()
    took[REPORT] = tuple(w - sum(v[i] for v in took.values()) for i, w in enumerate(whole))
    took[ASIDE] = 0, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(json.dumps([took, accuracy]))


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument('--inside')
    o = ap.parse_args()
    if o.inside:
        inside(o.data, o.weights, o.inside)
        raise SystemExit
    import pandas as pd

    from leukocls.core.machine import versions

    runs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as d:
            done = subprocess.run(
                [
                    sys.executable,
                    '-W',
                    'ignore',
                    __file__,
                    '--data',
                    o.data,
                    '--weights',
                    o.weights,
                    '--out',
                    o.out,
                    '--inside',
                    f'{d}/runs',
                ],
                env={**os.environ, 'LEUKOCLS_CACHE': f'{d}/cache'},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print({k: round(v[0], 1) for k, v in runs[-1][0].items()}, flush=True)
    rows = [
        dict(
            part=part,
            seconds=round(statistics.median(r[0][part][0] for r in runs), 2),
            processor_seconds=round(statistics.median(r[0][part][1] for r in runs), 2),
            accuracy=round(100 * runs[0][1], 2),
            cores=os.cpu_count(),
            torch=versions()['torch'],
            command=(
                f'python tests/bench/probe_parts.py --data {Path(o.data).name} --weights'
                f' {Path(o.weights).name} --out {o.out}'
            ),
        )
        for part in PARTS
    ]
    pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
    print(pd.DataFrame(rows).iloc[:, :3].to_string())
