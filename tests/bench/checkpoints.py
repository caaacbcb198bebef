"""What a checkpoint at the end of an epoch costs, beside the steps of that epoch: `mobilenetv2` on 1,000
images of 224 pixels in batches of `--bs`; validation, which makes an epoch longer, is left out.

Steps and writing are measured in turns, as seconds of the processor (so that other work on the machine
does not count) and as seconds of the clock (which has the disk's waiting in it). Medians.

    python tests/bench/checkpoints.py --out results/checkpoints.csv
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from fastai.callback.core import Callback, CancelFitException
from said import command

from leukocls import FILM_PATIENT, draw_films, get_recipe, read_table, split_table
from leukocls.train import network
from leukocls.train.callbacks import History, KeepWeights
from leukocls.train.checkpoints import Checkpoints
from leukocls.train.fit_state import SaveCheckpoints

ap = argparse.ArgumentParser()
ap.add_argument('--steps', type=int, default=6)
ap.add_argument('--bs', type=int, default=32)
ap.add_argument('--out', required=True)
a = ap.parse_args()
warnings.simplefilter('ignore')


class Times(Callback):
    "Seconds of each step but the first, up to the moment when a checkpoint would be written."

    order = 999

    def __init__(self):
        self.steps = []

    def before_batch(self):
        self.began = time.process_time(), time.perf_counter()

    def after_batch(self):
        now = time.process_time(), time.perf_counter()
        self.steps.append([end - start for end, start in zip(now, self.began)])
        if len(self.steps) == a.steps + 1:
            raise CancelFitException


class Timed(SaveCheckpoints):
    def _save(self, *place):
        began = time.process_time(), time.perf_counter()
        super()._save(*place)
        now = time.process_time(), time.perf_counter()
        self.writes = [*getattr(self, 'writes', ()), [e - s for e, s in zip(now, began)]]


with tempfile.TemporaryDirectory() as folder:
    films = draw_films(f'{folder}/films', patients=10, images=a.bs // 4 + 1, size=224)
    recipe = get_recipe('mobilenetv2', weights='none', bs=a.bs)
    table = split_table(read_table(films, patient=FILM_PATIENT), valid_pct=0.1, test_pct=0.1)
    learn, _, _ = network.prepare_fit(recipe, table, 'cpu')
    history, times = History(), Times()
    saver = Timed(Checkpoints(folder, 0), KeepWeights(history))
    learn.opt_func = network.partial(network.list_adam)
    with learn.no_bar(), learn.no_logging():
        learn.fit(9, cbs=[history, saver.keep, saver, times])
    size = max(p.stat().st_size for p in Path(folder).glob('checkpoints/*.safetensors'))
    weights = sum(v.numel() * v.element_size() for v in learn.model.state_dict().values())
step, write = (
    [statistics.median(column) for column in zip(*rows[1:])] for rows in (times.steps, saver.writes)
)
rows = [
    dict(
        clock=clock,
        step_s=round(step[i], 3),
        epoch_s=round(1000 / a.bs * step[i], 2),
        checkpoint_s=round(write[i], 4),
        share_percent=round(100 * write[i] / (1000 / a.bs * step[i]), 2),
        checkpoint_mb=round(size / 1e6, 1),
        times_the_weights=round(size / weights, 2),
        load_average=round(os.getloadavg()[0], 1),
        command=command(),
    )
    for i, clock in enumerate(['processor', 'wall'])
]
pd.DataFrame(rows).to_csv(a.out, index=False)
print(pd.DataFrame(rows).drop(columns='command').to_string())
