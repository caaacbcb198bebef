"""Does every engine say what fastai says? A probe trained on 80 % of Taleqani, all its images,
against fastai's own get_preds.

    python tests/bench/engines.py --weights WEIGHTS --data taleqani/Original \\
        --out results/engines.csv
    python tests/bench/engines.py --arch efficientnet_b3 --data taleqani/Original \\
        --engines torch openvino onnxruntime --out results/engines.csv

Without weights the network has random ones, on which the probe's head is trained all the same.
Speeds are of all images, files to table, in one process, without other work on the machine. Lines
of engines that are not asked for stay as they are in the file. `openvino-cascade` needs a processor
with bfloat16: elsewhere OpenVINO computes in float32, and its line would say nothing.
"""

import argparse
import os
import tempfile
import time

import numpy as np
import pandas as pd
from said import command

from leukocls.cli.bench import random_weights
from leukocls.core.machine import set_seed
from leukocls.models.predictor import Predictor, by_fastai, predict_images
from leukocls.runs.experiment import train_all

ap = argparse.ArgumentParser()
ap.add_argument('--arch', default='mobilenetv2_100')
ap.add_argument('--weights')
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
ap.add_argument(
    '--engines',
    nargs='+',
    default=[
        'torch',
        'openvino',
        'onnxruntime',
        'torch-cascade',
        'openvino-cascade',
        'torch-bf16',
        'openvino-bf16',
    ],
)
a = ap.parse_args()
old = pd.read_csv(a.out).to_dict('records') if os.path.exists(a.out) else []
with tempfile.TemporaryDirectory() as d:
    set_seed(0)
    run = train_all(
        a.data,
        'probe',
        arch=a.arch,
        weights=a.weights or str(random_weights(a.arch, f'{d}/weights')),
        valid_pct=0,
        seed=0,
        out=d,
        progress=False,
    )[0]
    learn, paths = run.learner, list(run.table.path)
    want = np.concatenate([by_fastai(learn, paths[i : i + 256]) for i in range(0, len(paths), 256)])
    two = np.sort(want, 1)
    close = two[:, -1] - two[:, -2] < 0.02
    rows = []
    for engine in a.engines:
        one = Predictor(learn, engine)
        predict_images(one, paths[:64])
        began = time.perf_counter()
        p = predict_images(one, paths).filter(like='p_').to_numpy()
        took = time.perf_counter() - began
        other = p.argmax(1) != want.argmax(1)
        rows.append(
            dict(
                arch=a.arch,
                engine=engine,
                accuracy=round(100 * run.metrics['accuracy']['value'], 2),
                images=len(paths),
                largest_probability_difference=float(f'{np.abs(p - want).max():.3g}'),
                other_labels=int(other.sum()),
                other_labels_that_were_not_close=int((other & ~close).sum()),
                close_calls=int(close.sum()),
                used_by_default=engine in ('torch', 'openvino', 'onnxruntime'),
                images_per_second=round(len(paths) / took, 1),
                looked_twice=(
                    round(one.engine.twice / one.engine.seen, 4) if 'cascade' in engine else ''
                ),
                command=command(),
            )
        )
rows = [
    *(r for r in old if (r['arch'], r['engine']) not in {(a.arch, e) for e in a.engines}),
    *rows,
]
pd.DataFrame(rows).to_csv(a.out, index=False, lineterminator='\n')
print(pd.DataFrame(rows).drop(columns='command').to_string())
