"""Twelve runs on two Ray nodes of one core each, and the same in one process; and folders of tiny
pictures classified over both nodes, and here.

All pictures are links to a thousand drawn ones. Each folder is classified by a driver of its own, whose
largest memory is noted: that of the process that lists the pictures, gives out blocks and joins parts.

What a cluster costs besides training is looked at in each worker: seconds between the end of one run
and the beginning of the next, and seconds of a run in which neither anything is imported nor trained.
The first run of a worker waits for its imports, which are counted apart.

    python tests/bench/cluster.py --out results/cluster.csv
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
import ray
from ray.cluster_utils import Cluster as Nodes
from said import command

from leukocls import FILM_PATIENT, draw_films, get_recipe, train_all
from leukocls.deploy import export_bundle

DRIVER = Path(__file__).with_name('processes') / 'classify.py'
SIZE = dict(num_cpus=1, object_store_memory=200 * 2**20)


def start_nodes():
    nodes = Nodes(initialize_head=True, head_node_args=SIZE | dict(include_dashboard=False))
    nodes.add_node(**SIZE)
    ray.init(nodes.address, log_to_driver=False, logging_level='ERROR')
    return nodes


def between_runs(times):
    "Seconds from the end of a run to the beginning of the next, in each worker."
    t = pd.DataFrame(times).sort_values(['worker', 'clock'])
    gap = t.clock - (t.clock + t.seconds).groupby(t.worker).shift()
    return gap.dropna()


def twelve_runs(folder):
    films = draw_films(folder / 'films', patients=6, images=5, size=48)
    small = get_recipe('small-cnn', size=32, epochs=2, lr=3e-3, bs=16)
    how = dict(recipes=[small, 'p3-knn'], folds=3, seeds=(0, 1), size=32, patient=FILM_PATIENT)
    how |= dict(device='cpu', progress=False)
    began = time.perf_counter()
    alone = train_all(films, out=folder / 'alone', **how)
    middle = time.perf_counter()
    runs = train_all(films, out=folder / 'cluster', cluster='auto', **how)
    ended = time.perf_counter()
    t = pd.DataFrame(runs.times)
    inside = t.seconds - t.imports - t.training
    figures = ['accuracy', 'f1', 'auroc']
    return dict(
        what='12 runs of a comparison',
        n=len(runs),
        nodes=2,
        equal=all(a.predictions.equals(b.predictions) for a, b in zip(alone, runs))
        and alone.standings[figures].equals(runs.standings[figures]),
        alone_s=middle - began,
        cluster_s=ended - middle,
        training_s=t.training.sum(),
        overhead_a_run_s=inside.mean() + between_runs(runs.times).mean(),
        imports_a_worker_s=t.groupby('worker').imports.sum().mean(),
    )


def draw_many(folder, n):
    "n pictures in folders of a thousand, all links to the first thousand."
    drawn = sorted((folder / 'drawn').rglob('*.png'))
    if not drawn:
        draw_films(folder / 'drawn', patients=25, images=10, size=32)
        drawn = sorted((folder / 'drawn').rglob('*.png'))
    for start in range(0, n, 1000):
        here = folder / f'{n}' / f'{start:08}'
        here.mkdir(parents=True)
        for number in range(start, min(start + 1000, n)):
            os.link(drawn[number % len(drawn)], here / f'{number:08}.png')
    return folder / f'{n}'


def many_images(folder, bundle, n, address, made_up=False):
    "A folder classified on the cluster, and here; or only given out and joined on the cluster."
    images = draw_many(folder, n)

    def driver(out, *words):
        words = [sys.executable, '-W', 'ignore', DRIVER, bundle, images, out, *words]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
        return map(float, done.stdout.split()[-4:])

    there, here = (folder / f'{name}-{n}.parquet' for name in ('there', 'here'))
    what = 'images, answers made up' if made_up else 'images'
    rows, seconds, before, most = driver(there, address, *['made-up'] * made_up)
    row = dict(what=what, n=int(rows), nodes=2, cluster_s=seconds)
    row |= dict(driver_mb_before=before, driver_mb=most)
    if not made_up:
        _, row['alone_s'], _, _ = driver(here, '')
        row['equal'] = pd.read_parquet(there).equals(pd.read_parquet(here))
    there.unlink()
    return row


def all_rows(asked, folder, address):
    yield twelve_runs(folder)
    few = draw_films(folder / 'few', patients=6, images=5, size=48)
    run = train_all(few, 'small-cnn', folder / 'one', size=32, epochs=1, progress=False)[0]
    bundle = export_bundle(run).folder
    for n in asked.images:
        yield many_images(folder, bundle, n, address)
    for n in asked.made_up:
        yield many_images(folder, bundle, n, address, made_up=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', default='cluster.csv')
    parser.add_argument('--images', nargs='*', type=int, default=[20_000])
    parser.add_argument('--made-up', nargs='*', type=int, default=[10_000, 100_000, 1_000_000])
    asked = parser.parse_args()
    warnings.simplefilter('ignore')
    nodes = start_nodes()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in all_rows(asked, Path(folder), nodes.address):
            rows.append(row)
            print(row, flush=True)
            table = pd.DataFrame(rows).round(3).assign(cores=os.cpu_count(), ray=ray.__version__)
            table.assign(command=command()).to_csv(asked.out, index=False)
    ray.shutdown()
    nodes.shutdown()


if __name__ == '__main__':
    main()
