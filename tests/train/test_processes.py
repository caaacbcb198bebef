"One training that two processes share: the same as one process learns, and nothing lost when one dies."

import importlib.util
import json
import os
import threading
import time

import numpy as np
import pytest

from leukocls.core.errors import RunError
from leukocls.data.films import FILM_PATIENT
from leukocls.runs.experiment import train_all
from leukocls.train.group import rows_of_process, share_of
from leukocls.train.processes import processes_asked

needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec('accelerate') is None,
    reason='accelerate is not installed: pip install "leukocls[distributed]"',
)
# without dropout, so that nothing is drawn by chance; its batch norms hold activations
HOW = dict(size=32, bs=16, epochs=2, augment='none', device='cpu', progress=False)
HOW |= dict(arch='test_efficientnet', top='linear')


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


@needs_accelerate
@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGKILL')
def test_two_processes_take_the_steps_of_one_and_one_goes_on(films, tmp_path, no_plots):
    """The second of two processes is killed: the other ends with a message, and the run keeps its
    checkpoint. One process goes on, to what one process alone would have learned, learning rate
    included: the steps of two are those of one, but for rounding.
    """
    how = HOW | dict(patient=FILM_PATIENT, checkpoint_minutes=0)
    shared = tmp_path / 'shared'
    threading.Thread(target=kill_second_process, args=[shared], daemon=True).start()
    with pytest.raises(RunError, match='Process 1 of 2 cannot go on, since another one has ended'):
        train_all(films, 'small-cnn', out=shared, processes=2, **how)
    (folder,) = shared.glob('small-cnn*')
    info = json.loads((folder / 'recipe.json').read_text(encoding='utf8'))
    assert info['processes'] == 2 and not (folder / 'metrics.json').exists()
    (run,) = train_all(films, 'small-cnn', out=shared, **how)
    (alone,) = train_all(films, 'small-cnn', out=tmp_path / 'alone', **how)
    assert run.folder == folder and run.info['status'] == 'finished'
    assert run.info['resumed'][0]['batches'] >= 3
    assert run.info['lr_found'] == pytest.approx(alone.info['lr_found'], rel=1e-3)
    np.testing.assert_allclose(losses(run), losses(alone), atol=1e-4)
    np.testing.assert_allclose(probabilities(run), probabilities(alone), atol=1e-4)


def losses(run):
    return run.history[['train_loss', 'valid_loss']].to_numpy()


def probabilities(run):
    return run.predictions.filter(like='p_').to_numpy()


def kill_second_process(out):
    "Once three steps are done."
    # accelerate needs it
    import psutil

    while not list(out.glob('*/checkpoints/00000[3-9].json')):
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        if process.environ().get('RANK') == '1':
            process.kill()
