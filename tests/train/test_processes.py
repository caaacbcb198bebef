"One training that two processes share: the same as one process learns, and nothing lost when one dies."

import importlib.util
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from leukocls.core.errors import RunError
from leukocls.data.films import FILM_PATIENT
from leukocls.models.predictor import predict_images
from leukocls.runs.experiment import train_all
from leukocls.runs.run import Run
from leukocls.train.group import rows_of_process, share_of
from leukocls.train.processes import processes_asked

needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec('accelerate') is None,
    reason='accelerate is not installed: pip install "leukocls[distributed]"',
)
# without dropout, so that nothing is drawn by chance; its batch norms hold activations
HOW = dict(size=32, bs=16, epochs=2, augment='none', device='cpu', progress=False)
HOW |= dict(arch='test_efficientnet', top='linear')
AGAIN = dict(size=32, bs=16, epochs=2, lr=0.001, device='cpu', progress=False)


@pytest.mark.parametrize('processes', [1, 2, 4, 8])
@pytest.mark.parametrize('n', [16, 50, 1000])
def test_processes_share_every_batch(n, processes):
    "Together they read the batches of one process, each image once, but for the incomplete batch."
    order = np.random.default_rng(n).permutation(n)
    parts = [rows_of_process(order, 16, rank, processes) for rank in range(processes)]
    share = share_of(16, processes)
    for start in range(0, n // 16):
        batch = [row for part in parts for row in part[start * share : (start + 1) * share]]
        assert batch == order[16 * start : 16 * (start + 1)].tolist()
    assert len({len(part) for part in parts}) == 1
    assert sum(map(len, parts)) == n // 16 * 16


def test_slips_are_told_before_anything_starts(films, monkeypatch):
    with pytest.raises(RunError, match='Use bs=30, or bs=33'):
        share_of(32, 3)
    for wrong in (0, 1.5, 'two', True):
        with pytest.raises(RunError, match='whole number, 1 or more'):
            processes_asked(wrong)
    with pytest.raises(RunError, match='cannot be handed to other processes'):
        train_all(films, 'small-cnn', processes=2, cbs=[])
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(RunError, match='the launcher has started 4'):
        train_all(films, 'small-cnn', processes=2)
    with pytest.raises(RunError, match='device="cpu"'):
        train_all(films, 'small-cnn', device='cpu:0')


def test_what_trains_no_network_needs_one_process(films, tmp_path, monkeypatch, capsys):
    "It is said, and nothing is started."
    monkeypatch.setattr('leukocls.train.processes.start_processes', lambda *a: pytest.fail())
    with pytest.raises(RunError, match='no fold'):
        train_all(films, 'p3-svm', out=tmp_path, processes=2, folds='no fold')
    assert 'p3-svm: no network is trained, so one process does it.' in capsys.readouterr().err


@pytest.fixture(scope='module')
def alone(films, tmp_path_factory, without_plots):
    "What one process learns; its learning rate is looked for."
    out = tmp_path_factory.mktemp('alone')
    with without_plots():
        return train_all(films, 'small-cnn', out=out, patient=FILM_PATIENT, **HOW)[0]


def losses(run):
    return run.history[['train_loss', 'valid_loss']].to_numpy()


@needs_accelerate
def test_two_processes_learn_what_one_learns(films, alone, tmp_path):
    "Learning rate, losses and predictions, but for rounding; and one process judges it the same."
    runs = train_all(films, 'small-cnn', out=tmp_path, patient=FILM_PATIENT, processes=2, **HOW)
    (run,) = runs
    assert run.info['processes'] == 2 and run.info['status'] == 'finished'
    assert run.info['steps'] == 'shared by 2 processes'
    assert run.info['lr_found'] == pytest.approx(alone.info['lr_found'], rel=1e-3)
    np.testing.assert_allclose(losses(run), losses(alone), atol=1e-4)
    then = run.predictions.filter(like='p_').to_numpy()
    again = predict_images(run.learner, run.predictions.path).filter(like='p_').to_numpy()
    np.testing.assert_allclose(again, then, atol=1e-6)


@needs_accelerate
@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGKILL')
def test_a_killed_process_ends_the_other_and_one_goes_on(films, tmp_path, no_plots):
    words = ['train', films, '--patient', FILM_PATIENT, '--recipe', 'small-cnn', '--size', '32']
    words += ['--bs', '16', '--epochs', '2', '--lr', '0.001', '--device', 'cpu']
    words += ['--checkpoint-minutes', '0', '--out', tmp_path, '--processes', '2']
    command = [sys.executable, '-m', 'leukocls', *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        while not list(tmp_path.glob('*/checkpoints/000003.json')):
            assert started.poll() is None, started.stderr.read()
            time.sleep(0.02)
        (second,) = [p for p in processes_of(started.pid) if p.environ().get('RANK') == '1']
        second.send_signal(signal.SIGKILL)
        said = started.communicate(timeout=60)[1]
    assert started.returncode == 2
    assert 'Error: Process 1 of 2 cannot go on, since another one has ended' in said
    assert 'Traceback' not in said and '\nThe same command' not in said
    (folder,) = tmp_path.glob('small-cnn*')
    assert not (folder / 'metrics.json').exists() and list(folder.glob('checkpoints/*.json'))
    (run,) = train_all(films, 'small-cnn', out=tmp_path, patient=FILM_PATIENT, **AGAIN)
    assert run.folder == folder and run.info['status'] == 'finished'
    assert len(run.history) == 2 and Run(folder).info['resumed']


def processes_of(number):
    # accelerate needs it
    import psutil

    return [p for p in psutil.Process(number).children(recursive=True) if p.is_running()]
