"""Trainings of tiny networks that are killed at random moments, again and again, until they are
finished; their files compared with those of a training that nobody killed.

The process with everything imported forks a child for each start, and sends it SIGKILL after a random
time. Where it was then (in a step, validating, writing a checkpoint, the pickle, the predictions, the
report) the child notes in shared memory. Compared are the files which two undisturbed trainings have
in common byte for byte; of the history all but its seconds, of the pickle the network's weights. The
report is written without its plots, which would take most of the time.

    python tests/bench/kills.py --kills 200 --out results/kills.csv
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from safetensors.torch import save
from said import command

import leukocls.report.page as page
import leukocls.train.fit_state as fit_state
import leukocls.train.learners as learners
import leukocls.train.network as network
from leukocls import FILM_PATIENT, draw_films, get_recipe, read_table, split_table, train
from leukocls.models.predictor import open_pickle
from leukocls.runs import pipeline
from leukocls.train.checkpoints import Checkpoints
from leukocls.train.fit_state import SaveCheckpoints

STAGES = [
    'beginning',
    'step',
    'validation',
    'checkpoint',
    'pickle',
    'predictions',
    'report',
    'done',
]
# (changes of the recipe, minutes between checkpoints within an epoch)
CASES = {
    'every step': (dict(epochs=3), 0),
    'epochs': (dict(epochs=6), None),
    'two networks': (dict(epochs=2, members=2), 0),
}
SHARED = mmap.mmap(-1, 16)


def note(stage):
    "Where the child is: visible to its parent, also after it was killed."
    SHARED[:8] = struct.pack('q', STAGES.index(stage))


def noting(owner, name, stage, back=None):
    "Let a function say that it runs."
    function = getattr(owner, name)

    def wrapped(*args, **kwargs):
        before = struct.unpack('q', SHARED[:8])[0]
        note(stage)
        result = function(*args, **kwargs)
        if back:
            note(STAGES[before])
        return result

    setattr(owner, name, wrapped)


def prepare():
    noting(SaveCheckpoints, 'before_train', 'step')
    noting(SaveCheckpoints, 'before_validate', 'validation')
    noting(Checkpoints, 'write', 'checkpoint', back=True)
    noting(learners, 'write_pickle', 'pickle')
    noting(network, 'predict_images', 'predictions')
    noting(page, 'report_run', 'report')
    page._plots = lambda *args: {}
    # every epoch, however short
    fit_state._SHARE = 1e9


def start(table, case, out, wait=None):
    "One process that trains; killed after `wait` seconds. Returns (stage, seconds, whether it ended)."
    changes, minutes = CASES[case]
    recipe = get_recipe('small-cnn', size=32, bs=8, lr=1e-3, **changes)
    note('beginning')
    began = time.monotonic()
    child = os.fork()
    if not child:
        sys.stderr = sys.stdout = open(os.devnull, 'w')
        try:
            how = dict(out=out, device='cpu', progress=False, checkpoint_minutes=minutes)
            train(recipe, table, **how)
            note('done')
            os._exit(0)
        except BaseException as error:
            Path(f'{out}.error').write_text(f'{type(error).__name__}: {error}')
            os._exit(1)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(Path(f'{out}.error').read_text())
            return 'done', time.monotonic() - began, True
        if wait is not None and time.monotonic() - began > wait:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            stage = STAGES[struct.unpack('q', SHARED[:8])[0]]
            return stage, time.monotonic() - began, os.WIFEXITED(status)
        time.sleep(0.001)


def files_of(out):
    "{name: bytes} of the only run; the history without its seconds."
    (folder,) = Path(out).iterdir()
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    for name in ('history.csv', 'members.csv'):
        if name in files:
            files[name] = pd.read_csv(folder / name).drop(columns='seconds').to_csv().encode()
    model = open_pickle(folder / 'learner.pkl', trust=True).model
    files['learner.pkl'] = save({k: v.contiguous() for k, v in model.state_dict().items()})
    return files


def is_finished(out):
    "Whether the only run is: a process can be killed after its last line, too."
    for path in Path(out).glob('*/recipe.json'):
        status = json.loads(path.read_text())['status']
        if status == 'finished' and not (path.parent / 'checkpoints').exists():
            return True
    return False


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--kills', type=int, default=200)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--out', required=True)
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    prepare()
    rng, rows, whole, seconds = random.Random(a.seed), [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        films = draw_films(f'{folder}/films', patients=6, images=5, size=48)
        table = split_table(read_table(films, patient=FILM_PATIENT))
        pipeline.usual_steps()
        out = f'{folder}/runs'
        for case in CASES:
            twice = []
            for _ in range(2):
                shutil.rmtree(out, ignore_errors=True)
                _, seconds[case], _ = start(table, case, out)
                twice.append(files_of(out))
            whole[case] = {n: data for n, data in twice[0].items() if twice[1].get(n) == data}
            print(case, f'{seconds[case]:.1f} s', len(whole[case]), 'files', flush=True)
        training = 0
        while len(rows) < a.kills:
            training += 1
            case = list(CASES)[training % len(CASES)]
            shutil.rmtree(out, ignore_errors=True)
            mine = []
            while not is_finished(out):
                wait = seconds[case] * rng.random() ** 3
                stage, took, ended = start(table, case, out, wait)
                if ended:
                    break
                mine.append(
                    dict(training=training, case=case, killed_in=stage, after_s=round(took, 2))
                )
            got = files_of(out)
            differing = sorted(n for n, data in whole[case].items() if got.get(n) != data)
            left = sorted(n for n in got if n.startswith('checkpoints'))
            for row in mine:
                row.update(files=len(whole[case]), equal=not differing and not left)
                row.update(differing=' '.join(differing + left), command=command())
            rows += mine
            pd.DataFrame(rows).to_csv(a.out, index=False)
            print(training, case, [row['killed_in'] for row in mine], differing, left, flush=True)
    frame = pd.DataFrame(rows)
    print(frame.killed_in.value_counts().to_string())
    print(
        f'{len(frame)} kills, {frame.training.nunique()} trainings, all equal: {frame.equal.all()}'
    )


if __name__ == '__main__':
    main()
