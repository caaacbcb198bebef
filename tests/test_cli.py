"The command line as a person meets it: each command once in a process of its own; what more is asked of it, in this one."

import io
import json
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest


def leukocls(*words, cwd=None):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'leukocls', *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd or Path(__file__).parent.parent,
    )


def here(*words):
    "The same in this process, where PyTorch and fastai are imported already."
    from leukocls.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # as -W ignore
        try:
            main([*map(str, words)])
        except SystemExit as e:
            code = e.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def failed(done, said):
    assert done.returncode == 2, (done.returncode, done.stderr[-500:])
    assert said in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr and len(done.stderr.strip().splitlines()) <= 3


def test_version():
    from leukocls import __version__

    assert leukocls('--version').stdout.strip() == f'leukocls {__version__}'


@pytest.mark.parametrize('command', ['demo', 'train', 'evaluate', 'predict', 'recipes'])
def test_help(command):
    done = leukocls(command, '--help')
    assert done.returncode == 0 and 'Usage' in done.stdout and len(done.stdout) > 200


def test_help_names_every_command():
    shown = leukocls('--help').stdout
    for word in (
        'demo',
        'train',
        'evaluate',
        'predict',
        'recipes',
        '--version',
        '--debug',
        'Not a medical device',
    ):
        assert word in shown


def test_recipes_json():
    assert {'effb3', 'modified-cnn', 'mobilenetv2'} <= {
        r['name'] for r in json.loads(leukocls('recipes', '--json').stdout)
    }


def test_errors_are_short(tmp_path, run):
    failed(leukocls('train', tmp_path / 'nowhere'), 'does not exist')
    failed(leukocls('train', tmp_path, '--recipe', 'effb4'), 'Did you mean effb3?')
    failed(leukocls('predict', run.folder / 'learner.pkl', 'a.png'), '--trust')
    failed(leukocls('predict', run.folder, 'a.png'), 'no such file')
    failed(leukocls('predict', tmp_path, 'a.png'), 'no run folder')
    assert leukocls('train').returncode == 2 and leukocls('nonsense').returncode == 2


def test_errors_speak_the_shells_words(films, tmp_path):
    import shutil

    copy = shutil.copytree(films, tmp_path / 'f')
    next(copy.rglob('*.png')).write_bytes(b'')
    done = leukocls('train', copy, '--recipe', 'small-cnn')
    failed(done, 'add --on-error skip')
    assert done.stderr.count('cannot be read') == 1 and 'on_error' not in done.stderr
    failed(
        leukocls('train', copy / 'Pro', '--recipe', 'small-cnn'), 'did you mean the folder above'
    )


def test_debug_shows_where(tmp_path):
    done = leukocls('--debug', 'train', tmp_path / 'nowhere')
    assert done.returncode == 1 and 'Traceback' in done.stderr


def test_train_evaluate_predict(films, tmp_path):
    done = leukocls(
        'train',
        films,
        '--recipe',
        'small-cnn',
        '--patient',
        r'(P\d+)_',
        '--epochs',
        1,
        '--size',
        32,
        '--lr',
        0.003,
        '--device',
        'cpu',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'runs' / 'small-cnn-seed42'
    assert (
        (folder / 'report.html').exists()
        and 'report.html' in done.stdout
        and 'Not a medical device' in done.stdout
        and 'balanced accuracy' in done.stdout
    )
    paths = sorted(films.rglob('*.png'))[:3]
    for call, model in ((leukocls, [folder]), (here, [folder / 'learner.pkl', '--trust'])):
        done = call(
            'predict', model[0], *paths, *model[1:], '--csv', tmp_path / 'p.csv', '--overwrite'
        )
        assert done.returncode == 0, done.stderr
        p = pd.read_csv(tmp_path / 'p.csv')
        assert (
            p.path.tolist() == [str(x) for x in paths]
            and p.filter(like='p_').sum(axis=1).round(4).eq(1).all()
        )
    done = here('predict', folder, films / 'Pro')
    assert done.returncode == 0 and len(done.stdout.strip().splitlines()) == 31
    failed(leukocls('predict', folder, *paths, '--csv', tmp_path / 'p.csv'), 'exists already')
    failed(leukocls('predict', folder, *paths, '--csv', tmp_path), 'is a folder')
    (tmp_path / 'half.png').write_bytes(paths[0].read_bytes()[:500])
    done = here('predict', folder, tmp_path / 'half.png', paths[0], '--tta')
    assert (
        done.returncode == 0
        and '1 of 2 images could not be read' in done.stderr
        and 'truncated' in done.stdout
    )
    failed(here('predict', folder, tmp_path / 'half.png', '--on-error', 'raise'), 'truncated')
    failed(here('predict', folder, paths[0], '--engine', 'warp'), 'Use one of: auto')
    done = leukocls('evaluate', folder, films, '--json', tmp_path / 'm.json')
    assert done.returncode == 0, done.stderr
    failed(leukocls('evaluate', folder, films, '--json', tmp_path), 'is a folder')
    assert (
        json.loads((tmp_path / 'm.json').read_text())['n'] == 120
        and 'were trained on: figures are too good' in done.stdout
    )


@pytest.mark.once
def test_demo(tmp_path):
    done = leukocls('demo', '--patients', 4, '--images', 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / 'runs' / 'small-cnn-seed42'
    for name in ('report.html', 'learner.pkl', 'plots', 'metrics.json'):
        assert (run / name).exists() and name in done.stdout
    assert 'no clinical meaning' in done.stdout and 'accuracy' in done.stdout


def test_predict_says_where_it_can_run(run, small_bundle, films, tmp_path):
    "A device that is not here, a table of another kind: said in a line, nothing written."
    import torch

    one = next(films.rglob('*.png'))
    if not torch.cuda.is_available():
        for command in (('predict', run.folder, one), ('evaluate', run.folder, films)):
            failed(here(*command, '--device', 'cuda'), 'not available here')
    failed(here('predict', run.folder, one, '--csv', tmp_path / 'p.xlsx'), 'ends so')
    failed(here('predict', small_bundle, one, '--device', 'cuda'), 'on the CPU')
    failed(here('predict', small_bundle, one, '--csv', tmp_path / 'p.parquet'), 'ends in .csv')
    assert not list(tmp_path.glob('*p.*'))
    done = here('predict', run.folder, one, '--device', 'cpu')
    assert done.returncode == 0 and one.name in done.stdout
    failed(here('predict', run.folder, tmp_path), 'holds no image')


def test_ctrl_c_is_said(films, tmp_path):
    "In a real process that gets the signal while it works."
    code = (
        'import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import'
        ' leukocls.audit as a; a.audit = lambda *x, **k: os.kill(os.getpid(), signal.SIGINT); from'
        ' leukocls.cli import main; main(["audit", sys.argv[1]])'
    )
    got = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(films)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (
        got.returncode == 130
        and got.stderr.count('Interrupted.') == 1
        and 'Traceback' not in got.stderr
    ), got.stderr
