"""What a frozen network knows of cells: last map against mean and spread of all stages; five folds,
three seeds, PBC sample.

python tests/bench/features.py --weights WEIGHTS --data pbc8_sample --out results/features.csv
"""

import argparse

import numpy as np
import pandas as pd
import timm
from said import command
from sklearn.model_selection import StratifiedKFold

from leukocls.data.images import Pixels, read_batches
from leukocls.data.table import read_table
from leukocls.models.engines import stream
from leukocls.models.networks import Ready, TorchEngine, stage_body
from leukocls.train.probe import fit_head

ap = argparse.ArgumentParser()
ap.add_argument('--weights', required=True)
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
a = ap.parse_args()
table = read_table(a.data)
y = table.label.to_numpy(str)
last = timm.create_model(f'local-dir:{a.weights}', pretrained=True, num_classes=0)
cfg = last.pretrained_cfg


def features(net):
    engine = TorchEngine(Ready(net, cfg['mean'], cfg['std']))
    return np.concatenate(
        [
            o
            for _, o in stream(
                engine, ((p, x) for p, x, _ in read_batches(table.path, Pixels(224)))
            )
        ]
    )


rows = []
for name, net in (
    ('last map, averaged', last),
    ('all stages, mean and spread', stage_body(f'local-dir:{a.weights}', 224, True)[0]),
):
    X, right, loss = features(net), [], []
    for seed in range(3):
        p = np.zeros((len(y), len(set(y))))
        for fit, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y):
            p[test] = fit_head(X[None, fit], y[fit], fit)[0].probabilities(X[test])
        right.append(float((np.unique(y)[p.argmax(1)] == y).mean()))
        loss.append(
            float(
                -np.log(
                    np.clip(p[np.arange(len(y)), np.searchsorted(np.unique(y), y)], 1e-7, 1)
                ).mean()
            )
        )
    rows.append(
        dict(
            features=name,
            width=X.shape[1],
            parameters=sum(v.numel() for v in net.parameters()),
            accuracy=round(np.mean(right), 4),
            lowest=min(right),
            highest=max(right),
            log_loss=round(np.mean(loss), 4),
            n=len(y),
            folds=5,
            seeds=3,
            command=command(),
        )
    )
pd.DataFrame(rows).to_csv(a.out, index=False)
print(pd.DataFrame(rows).drop(columns='command').to_string())
