"""A bundle against the Learner it comes from: the largest difference of a probability, and labels
that differ, on real images.

python tests/bench/parity.py --data FOLDER --weights FOLDER --out results/parity.csv

`effb3` starts from random weights where its ImageNet weights cannot be had; parity does not depend
on what a network has learned.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from leukocls.core.machine import versions
from leukocls.data.images import read_batches
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.deploy.bundle import export_bundle
from leukocls.deploy.classifier import Classifier
from leukocls.models.engines import softmax, stream
from leukocls.models.predictor import predict_images
from leukocls.runs.experiment import train


def raw(clf, paths):
    "The engine's own probabilities, before any temperature."
    batches = ((None, x) for _, x, _ in read_batches(paths, clf.pixels, clf.engine.block))
    return softmax(np.concatenate([o for _, o in stream(clf.engine, batches)])[:, : clf.k])


if __name__ == '__main__':
    a = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    a.add_argument('--data', required=True)
    a.add_argument('--weights', required=True)
    a.add_argument('--out', required=True)
    a.add_argument(
        '--recipes', nargs='+', default=['modified-cnn', 'mobilenetv2', 'effb3', 'probe']
    )
    a.add_argument('--train', type=int, default=240, help='images to train on, for an epoch')
    a.add_argument('--images', type=int, default=1000, help='images to compare on')
    o = a.parse_args()
    shown = (
        f'python tests/bench/parity.py --data {Path(o.data).name} --weights {Path(o.weights).name}'
        f' --out {o.out} --train {o.train} --images {o.images}'
    )
    rows = []
    with tempfile.TemporaryDirectory() as d:
        table = read_table(o.data)
        some = split_table(
            table.sample(o.train, random_state=0).sort_values('path', ignore_index=True), 'random'
        )
        paths = table.path.sample(o.images, random_state=1).tolist()
        for recipe in o.recipes:
            own = (
                dict(weights=o.weights, arch='mobilenetv2_100')
                if recipe in ('mobilenetv2', 'probe')
                else dict(weights='none')
            )
            run = train(
                recipe,
                some,
                out=f'{d}/runs',
                progress=False,
                **own | ({} if recipe == 'probe' else dict(epochs=1, lr=1e-3)),
            )
            b = export_bundle(run, f'{d}/{recipe}')
            want = predict_images(run.learner, paths, engine='torch')[
                [f'p_{c}' for c in b.config['classes']]
            ].to_numpy()
            two = np.sort(want, 1)[:, -2:]
            near = two[:, 1] - two[:, 0] < 0.02
            for engine in ('torch', 'onnxruntime', 'openvino'):
                clf = Classifier.load(b.folder, engine)
                got = raw(clf, paths)
                other = got.argmax(1) != want.argmax(1)
                rows.append(
                    dict(
                        recipe=recipe,
                        engine=engine,
                        images=len(paths),
                        largest_difference=float(f'{np.abs(got - want).max():.3g}'),
                        other_labels=int(other.sum()),
                        other_labels_not_close=int((other & ~near).sum()),
                        bundle_mb=round(sum(p.stat().st_size for p in b.folder.iterdir()) / 1e6, 1),
                        timm_loads=b.config.get('timm', ''),
                        torch=versions()['torch'],
                        command=shown,
                    )
                )
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
    print(o.out, file=sys.stderr)
