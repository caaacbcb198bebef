"""Twelve runs on two Ray nodes of one core each, and the same in one process; folders of tiny
pictures classified over both nodes, and here; and fields cut, features computed and images audited in
the same two ways.

All pictures are links to a thousand drawn ones. Each folder is classified by a driver of its own, whose
largest memory is noted: that of the process that lists the pictures, gives out blocks and joins parts.

What a cluster costs besides training is looked at in each worker: seconds between the end of one run
and the beginning of the next, and seconds of a run in which neither anything is imported nor trained.
The first run of a worker waits for its imports, which are counted apart.

Each of these is done once more by a program that is killed in the middle, and started again; then one
of its workers is killed. `equal` says whether all files are those of one process to the byte. Features
of more pictures are computed on the cluster alone, for the memory of the program that gives them out.

    python tests/bench/cluster.py --out results/cluster.csv
    python tests/bench/cluster.py --out results/cluster.csv --only cells features audit
"""

import argparse
import json
import os
import re
import signal
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
from leukocls.data.films import draw_film, draw_patient
from leukocls.deploy import export_bundle

PROCESSES = Path(__file__).with_name('processes')
DRIVER, IN_BLOCKS = PROCESSES / 'classify.py', PROCESSES / 'in_blocks.py'
KINDS = 'runs', 'images', 'made-up', 'cells', 'features', 'audit'
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
    whole = folder / f'{n}'
    for start in range(0, 0 if whole.exists() else n, 1000):
        here = whole / f'{start:08}'
        here.mkdir(parents=True)
        for number in range(start, min(start + 1000, n)):
            os.link(drawn[number % len(drawn)], here / f'{number:08}.png')
    return whole


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


def tiny_weights(folder):
    "A network that nobody trained, as a timm local-dir folder."
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    model = timm.create_model('test_efficientnet', num_classes=10)
    save_file(model.state_dict(), folder / 'model.safetensors')
    facts = dict(input_size=[3, 64, 64], mean=[0.5] * 3, std=[0.5] * 3, num_classes=10)
    facts |= dict(pool_size=[2, 2], first_conv='conv_stem', classifier='classifier')
    about = dict(architecture='test_efficientnet', num_classes=10, pretrained_cfg=facts)
    (folder / 'config.json').write_text(json.dumps(about))
    return folder


class InBlocks:
    "One kind of work in blocks, in programs of its own, each with a cache of its own."

    def __init__(self, folder, what, images, out, address):
        self.folder, self.what, self.images, self.out = folder / what, what, images, out
        self.address = address
        self.folder.mkdir()
        self.more = [tiny_weights(self.folder / 'weights')] if what == 'features' else []

    def start(self, name, address):
        words = [IN_BLOCKS, self.what, self.images, self.folder / name / self.out, address]
        own = dict(LEUKOCLS_CACHE=str(self.folder / f'cache of {name}'))
        return subprocess.Popen(
            [sys.executable, '-W', 'ignore', *map(str, [*words, *self.more])],
            env=os.environ | own,
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self, process):
        said = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f'{self.what}: the program ended with {process.returncode}')
        # Ray says something of its own too, where a worker dies
        (found,) = re.findall(r'^((?:[\d.]+ ){3}[\d.]+)$', said, re.M)
        return map(float, found.split())

    def content(self, name):
        root = self.folder / name
        return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}

    def done(self, name):
        # the parts of an audit lie in the cache
        places = self.folder / name, self.folder / f'cache of {name}'
        return {marker for place in places for marker in place.rglob('*.done')}

    def wait_for(self, name, more_than):
        "Until so many blocks are done; the markers."
        ends_at = time.monotonic() + 300
        while len(self.done(name)) <= more_than:
            if time.monotonic() > ends_at:
                raise SystemExit(f'{self.what}: no block was done')
            time.sleep(0.01)
        return self.done(name)

    def there(self, name='there'):
        rows, cluster_s, before, most = self.finish(self.start(name, self.address))
        row = dict(what=self.what, n=int(rows), nodes=2, cluster_s=cluster_s)
        return row | dict(driver_mb_before=before, driver_mb=most)

    def compared(self):
        row = self.there()
        _, alone_s, _, _ = self.finish(self.start('here', ''))
        return row | dict(equal=self.content('there') == self.content('here'), alone_s=alone_s)

    def killed(self):
        "The program is killed, then a worker of the next one."
        first = self.start('killed', self.address)
        before = self.wait_for('killed', 1)
        first.kill()
        first.wait()
        second = self.start('killed', self.address)
        new = self.wait_for('killed', len(before)) - before
        os.kill(json.loads(new.pop().read_text())['pid'], signal.SIGKILL)
        rows, seconds, _, _ = self.finish(second)
        what = f'{self.what}, a killed program and a killed worker'
        equal = self.content('killed') == self.content('here')
        return dict(what=what, n=int(rows), nodes=2, equal=equal, cluster_s=seconds)


def draw_fields(folder, n):
    for number in range(n):
        place = folder / ('ill' if number % 2 else 'well')
        place.mkdir(parents=True, exist_ok=True)
        draw_film(draw_patient('Early', number), 0, 320).save(place / f'P{number:03}_1.png')
    return folder


def in_blocks(what, folder, address, more):
    if what == 'cells':
        images, out = draw_fields(folder / 'fields', 200), 'cells'
    elif what == 'features':
        images, out = folder / 'of features', 'features.parquet'
        draw_films(images, patients=50, images=10, size=64)
    else:
        # a block has a thousand
        images, out = draw_many(folder, 8_000), 'audit.json'
    work = InBlocks(folder, what, images, out, address)
    yield work.compared()
    yield work.killed()
    for n in more if what == 'features' else ():
        work.images = draw_many(folder, n)
        yield work.there(f'{n}') | dict(what='features, on the cluster alone')


def all_rows(asked, folder, address):
    if 'runs' in asked.only:
        yield twelve_runs(folder)
    if {'images', 'made-up'} & set(asked.only):
        few = draw_films(folder / 'few', patients=6, images=5, size=48)
        run = train_all(few, 'small-cnn', folder / 'one', size=32, epochs=1, progress=False)[0]
        bundle = export_bundle(run).folder
    for n in asked.images if 'images' in asked.only else ():
        yield many_images(folder, bundle, n, address)
    for n in asked.made_up if 'made-up' in asked.only else ():
        yield many_images(folder, bundle, n, address, made_up=True)
    for what in 'cells', 'features', 'audit':
        if what in asked.only:
            yield from in_blocks(what, folder, address, asked.features)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', default='cluster.csv')
    parser.add_argument('--images', nargs='*', type=int, default=[20_000])
    parser.add_argument('--made-up', nargs='*', type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--features', nargs='*', type=int, default=[20_000, 100_000])
    parser.add_argument('--only', nargs='*', choices=KINDS, default=KINDS)
    asked = parser.parse_args()
    warnings.simplefilter('ignore')
    # lines of what is not measured again stay
    before = pd.read_csv(asked.out) if os.path.exists(asked.out) else pd.DataFrame()
    nodes = start_nodes()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in all_rows(asked, Path(folder), nodes.address):
            rows.append(row)
            print(row, flush=True)
            table = pd.DataFrame(rows).round(3).assign(cores=os.cpu_count(), ray=ray.__version__)
            table = table.assign(command=command())
            if len(before):
                again = set(zip(table['what'], table.n))
                old = [pair not in again for pair in zip(before['what'], before.n)]
                table = pd.concat([before[old], table], ignore_index=True)
            table.to_csv(asked.out, index=False)
    ray.shutdown()
    nodes.shutdown()


if __name__ == '__main__':
    main()
