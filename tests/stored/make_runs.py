"""Store runs of a tiny network and of a classical system as a state of the library writes them.

    PYTHONPATH=CHECKOUT python tests/stored/make_runs.py runs-VERSION.tar.xz leukocls.report.page

They are made in /data, which names nobody and must not be there; the archive holds films, runs, what was
predicted of each film and the standings. Small on purpose: see tests/runs/test_stored.py.
"""

import shutil
import sys
import tarfile
from pathlib import Path
from unittest.mock import patch

import torch
from fastai.learner import Learner

from leukocls import Runs, predict_images, train_all

try:
    from leukocls.data.films import FILM_PATIENT, draw_films
except ModuleNotFoundError:
    # the first states
    from leukocls.smears import FILM_PATIENT, draw_films

HOME = Path('/data')


def with_few_digits(step):
    "A training step; in the last epoch weights are cut to five binary digits, which pack well."

    def rounded(learn):
        step(learn)
        for p in learn.model.parameters() if learn.epoch == learn.n_epoch - 1 else ():
            mantissa, exponent = torch.frexp(p.data)
            p.data.copy_(torch.ldexp((mantissa * 16).round() / 16, exponent))

    return rounded


def nobody(member):
    "An entry of the archive without owner and time."
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ''
    return member


def store(films, home):
    "Train, predict, and leave what is to be stored in `home`."
    how = dict(patient=FILM_PATIENT, out=home / 'runs', device='cpu', progress=False, size=32)
    runs = Runs(train_all(films, 'small-cnn', epochs=20, lr=1e-2, bs=8, keep='last', **how))
    runs += train_all(films, 'p3-naive-bayes', **how)
    for run in runs:
        paths = sorted(films.rglob('*.png'))
        expected = predict_images(run, paths)
        expected['path'] = [path.relative_to(home).as_posix() for path in paths]
        expected.to_csv(home / f'{run.name}.csv', index=False)
        shutil.rmtree(run.folder / 'plots', ignore_errors=True)
    runs.standings.to_csv(home / 'standings.csv')


def main(
    archive,  # File to write, NAME.tar.xz
    report,  # The module that draws plots, which are not stored: leukocls.report.page
):
    HOME.mkdir()
    try:
        films = draw_films(HOME / 'films', patients=5, images=2, size=32, seed=1)
        step = patch.object(Learner, '_step', with_few_digits(Learner._step))
        with step, patch(f'{report}._plots', return_value={}):
            store(Path(films), HOME)
        with tarfile.open(archive, 'w:xz') as tar:
            tar.add(HOME, 'stored', filter=nobody)
    finally:
        shutil.rmtree(HOME)


if __name__ == '__main__':
    main(*sys.argv[1:])
