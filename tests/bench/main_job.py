"""Real Taleqani images, random 80/20, three seeds: accuracy and seconds of the main recipes, from
files to report.

    python tests/bench/main_job.py DATA --weights FOLDER --recipes mobilenetv2 modified-cnn \\
        --out results/main-job.csv

The papers' protocol: 80 % train, 20 % held out at random, so patients are shared and figures are
too good. Nothing is chosen on the held-out images: the last epoch is kept, and the recipes were
settled on another data set. Seeds and recipes that the CSV file holds already are not run again.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from leukocls.core.machine import versions
from leukocls.runs.experiment import train_all

ap = argparse.ArgumentParser()
ap.add_argument('data')
ap.add_argument('--weights', required=True)
ap.add_argument('--out', required=True)
ap.add_argument('--recipes', nargs='+', default=['modified-cnn', 'mobilenetv2'])
ap.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
ap.add_argument('--name', default='')
a = ap.parse_args()
if not a.name:
    a.name = Path(a.data).name
old = (
    pd.read_csv(a.out)
    if Path(a.out).exists()
    else pd.DataFrame(columns=['recipe', 'images', 'seed'])
)
for recipe in a.recipes:
    for seed in a.seeds:
        if ((old.recipe == recipe) & (old.images == a.name) & (old.seed == seed)).any():
            continue
        began = time.perf_counter()
        changes = {} if recipe == 'modified-cnn' else dict(weights=a.weights)
        with tempfile.TemporaryDirectory() as d:
            os.environ['LEUKOCLS_CACHE'] = f'{d}/cache'  # nothing is known before
            run = train_all(
                a.data,
                recipe,
                out=d,
                split='random',
                valid_pct=0.2,
                test_pct=0,
                seed=seed,
                keep='last',
                progress=False,
                **changes,
            )[0]
            seconds = time.perf_counter() - began
            m, i, h = run.metrics, run.info, run.history
        row = dict(
            recipe=recipe,
            images=a.name,
            seed=seed,
            split='random 80/20, patients unknown',
            train=i['data']['sides']['train'],
            held_out=m['n'],
            **{
                f'{k}{end}': round(m[k][part], 5)
                for k in (
                    'accuracy',
                    'precision',
                    'recall',
                    'specificity',
                    'f1',
                    'kappa',
                    'auroc',
                    'ece',
                )
                for part, end in (('value', ''), ('low', '_low'), ('high', '_high'))
            },
            epochs=len(h),
            seconds=round(seconds, 1),
            seconds_per_epoch=round(h.seconds.median(), 1),
            precision_used=i['precision'],
            device=i['device'],
            cores=os.cpu_count(),
            threads=torch.get_num_threads(),
            published_accuracy=(i['recipe']['published'] or {}).get('accuracy'),
            torch=versions()['torch'],
            fastai=versions()['fastai'],
            command=(
                f"python tests/bench/main_job.py {a.name} --weights {Path(a.weights).name}"
                f" --recipes {recipe} --seeds {seed}"
            ),
        )
        old = pd.concat([old, pd.DataFrame([row])], ignore_index=True)
        old.to_csv(a.out, index=False)
        print(
            f"{recipe} {a.name} seed {seed}: {m['accuracy']['value']:.4f} in {seconds:.0f} s",
            flush=True,
        )
