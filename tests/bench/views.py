"""What `view='cell'` costs a probe, from the folder to the report. Writes results/views.csv.

python tests/bench/views.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet

Both views train on the same pictures, 25 of each class of pbc8_sample, in turns; nothing of the
pictures is in the cache, and the converted network of both is.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from leukocls.data.images import open_cell
from leukocls.data.views import central_cell

COMMAND = 'python tests/bench/views.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet'
VIEWS = 'whole', 'cell'


def some_of(folder, each, target):
    "A folder with links to the first pictures of each class."
    for label in sorted(p for p in folder.iterdir() if p.is_dir()):
        (target / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:each]:
            (target / label.name / path.name).symlink_to(path.resolve())
    return target


def train(pictures, weights, view, out, cache):
    "(seconds, processor seconds) of one training with its report."
    command = [sys.executable, '-m', 'leukocls', 'train', str(pictures), '--recipe', 'probe']
    command += ['--weights', str(weights), '--view', view, '--out', str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | dict(LEUKOCLS_CACHE=str(cache)),
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f'{view}: the training ended with {status}'
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def in_turns(pictures, weights, folder, turns):
    "[(seconds, processor seconds), …] of each view."
    caches = {view: folder / f'cache-{view}' for view in VIEWS}
    taken = {view: [] for view in VIEWS}
    for turn in range(turns + 1):
        for view in VIEWS:
            out = folder / f'runs-{view}-{turn}'
            for part in caches[view].glob('*') if turn else ():
                if part.name != 'engines':
                    shutil.rmtree(part)
            times = train(pictures, weights, view, out, caches[view])
            # the first turn converts the network
            if turn:
                taken[view].append(times)
                print(turn, view, *(round(t, 1) for t in times), flush=True)
    return taken


def seconds_each(paths):
    "Processor seconds in which the cell of a picture is found."
    images = [open_cell(path) for path in paths]
    began = time.thread_time()
    for im in images:
        central_cell(im)
    return (time.thread_time() - began) / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path)
    parser.add_argument('weights', type=Path)
    parser.add_argument('--each', type=int, default=25)
    parser.add_argument('--turns', type=int, default=2)
    parser.add_argument('--out', type=Path, default=Path('results/views.csv'))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = some_of(options.data / 'pbc8_sample', options.each, Path(folder, 'pictures'))
        taken = in_turns(pictures, options.weights.resolve(), Path(folder), options.turns)
        files = sorted(pictures.glob('*/*'))
        each = seconds_each(files[::4])
    rows = []
    for what, place in (('seconds', 0), ('processor seconds', 1)):
        whole, cell = ([t[place] for t in taken[view]] for view in VIEWS)
        for view in VIEWS:
            values = [t[place] for t in taken[view]]
            rows.append(
                (f'{what}, view {view}', statistics.median(values), min(values), max(values))
            )
        more = [b / a - 1 for a, b in zip(whole, cell)]
        rows.append((f'{what}, more with view cell', statistics.median(more), min(more), max(more)))
    rows.append(('processor seconds to find the cell of a picture', each, None, None))
    table = pd.DataFrame(rows, columns=['what', 'median', 'least', 'most']).round(4)
    table = table.assign(pictures=len(files), turns=options.turns, cores=os.cpu_count())
    table.assign(command=COMMAND).to_csv(options.out, index=False, lineterminator='\n')
    print(table.to_string())


if __name__ == '__main__':
    main()
