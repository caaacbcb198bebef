"""A probe from a table of images to its report, by leukocls; prints its accuracy.

    python -m leukocls.cli.programs.probe_leukocls TABLE ARCH WEIGHTS SIZE OUT
"""

import sys

import pandas as pd

from leukocls.runs.experiment import train_all


def main(table, arch, weights, size, out):
    "Train a probe, files to report, and print what it took."
    runs = train_all(
        pd.read_csv(table),
        'probe',
        arch=arch,
        weights=weights,
        size=int(size),
        split='group',
        valid_pct=0,
        out=out,
        progress=False,
    )
    print(runs[0].metrics['accuracy']['value'])


if __name__ == '__main__':
    main(*sys.argv[1:])
