"""A recipe from a table of images to its report, by leukocls; prints its accuracy.

    python -m leukocls.cli.programs.run_leukocls RECIPE TABLE ARCH WEIGHTS SIZE OUT
"""

import sys

import pandas as pd

from leukocls.runs.experiment import train_all


def main(recipe, table, arch, weights, size, out):
    "Train, files to report, and print the accuracy."
    # a probe chooses nothing by validation images
    how = dict(valid_pct=0) if recipe == 'probe' else {}
    runs = train_all(
        pd.read_csv(table),
        recipe,
        arch=arch,
        weights=weights,
        size=int(size),
        split='group',
        out=out,
        progress=False,
        **how,
    )
    print(runs[0].metrics['accuracy']['value'])


if __name__ == '__main__':
    main(*sys.argv[1:])
