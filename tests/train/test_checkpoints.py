"A fit that was cut off anywhere goes on from its checkpoint, and ends with the same bits."

import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import leukocls.train.checkpoints as module
import leukocls.train.network as network
from leukocls.core.errors import RunError
from leukocls.data.splits import split_table
from leukocls.train.checkpoints import Checkpoints, FolderLock, pack_state, unpack_state
from leukocls.train.folder import start_run
from leukocls.train.network import fit_network
from leukocls.train.recipes import get_recipe


class Killed(BaseException):
    "As `kill -9`: nobody handles it, and nothing is written after it."


@pytest.fixture(scope='module')
def parts(table):
    return split_table(table)


@pytest.fixture(scope='module')
def phases(local_weights):
    "A pretrained network whose head goes first, with all that has a memory: averages, early stopping."
    recipe = get_recipe('mobilenetv2', weights=str(local_weights), size=32, bs=16, precision='fp32')
    recipe = get_recipe(recipe, arch='test_efficientnet', head_epochs=1, epochs=2, lr=1e-3)
    return get_recipe(recipe, ema=0.9, mixup=0.2, patience=5, augment='light')


def fit(recipe, parts, folder, kill_after=None, minutes=0):
    """Fit in a folder, going on from what is there; killed after so many checkpoints. Returns the
    weights, the histories and the facts, or None if it was killed.
    """
    folder.mkdir(exist_ok=True)
    checkpoints = Checkpoints(folder, minutes)
    checkpoints.state = checkpoints.read()
    written = []

    def write(state):
        Checkpoints.write(checkpoints, state)
        written.append(state['place'])
        if len(written) == kill_after:
            raise Killed

    checkpoints.write = write
    folder, info = start_run(recipe, parts, folder.parent, 1, 'cpu', None, folder)
    try:
        fitted = fit_network(recipe, parts, folder, info, 'cpu', False, checkpoints=checkpoints)
    except Killed:
        return None
    p = fitted.predict(list(parts.path[:3])).filter(like='p_').to_numpy()
    histories = [
        pd.read_csv(folder / name).drop(columns='seconds')
        for name in ('history.csv', 'members.csv')
        if (folder / name).exists()
    ]
    return load_file(folder / 'model.safetensors'), histories, info, p, written


def assert_same(got, want):
    "The same bits."
    weights, histories, info, p, _ = got
    assert list(weights) == list(want[0])
    assert all(torch.equal(weights[name], value) for name, value in want[0].items())
    assert all(a.equals(b) for a, b in zip(histories, want[1])) and len(histories) == len(want[1])
    assert np.array_equal(p, want[3])
    for name in ('status', 'kept_epoch', 'model', 'notes', 'members'):
        assert info.get(name) == want[2].get(name), name


def killed_every(n, recipe, parts, folder, most=60):
    "Killed after every n checkpoints until it is done; how often it was."
    for kills in range(most):
        if (result := fit(recipe, parts, folder, n)) is not None:
            return result, kills
    raise AssertionError('it never ends')


CASES = dict(
    members=dict(members=2, epochs=1, augment='p2'),
    flat=dict(opt='sgd', schedule='flat', keep='last', views=2, balance=True),
    found_rate=dict(lr='find', augment='stain', epochs=1),
)


@pytest.mark.parametrize('changes', CASES.values(), ids=CASES)
def test_a_fit_that_is_killed_again_and_again_ends_the_same(
    changes, quick, parts, tmp_path, monkeypatch
):
    found = []

    def find_lr(learn):
        found.append(2e-3)
        return 2e-3, pd.DataFrame({'lr': [2e-3], 'loss': [1.0]})

    monkeypatch.setattr(network, 'find_lr', find_lr)
    recipe = get_recipe(quick, **changes)
    whole = fit(recipe, parts, tmp_path / 'whole', minutes=None)
    got, kills = killed_every(3, recipe, parts, tmp_path / 'cut')
    assert kills >= 2
    assert_same(got, whole)
    # once for each training, whatever happened to it
    assert len(found) == 2 * (recipe.lr is None)


def test_phases_averages_and_early_stopping_go_on(phases, parts, tmp_path):
    whole = fit(phases, parts, tmp_path / 'whole', minutes=None)
    got, kills = killed_every(4, phases, parts, tmp_path / 'cut')
    assert kills >= 3
    assert_same(got, whole)
    size = sum(v.numel() * v.element_size() for v in whole[0].values())
    files = sorted((tmp_path / 'cut/checkpoints').glob('0*.safetensors'))
    assert len(files) == 2
    # weights, their average, and the optimiser's two; without an average it is three times
    assert max(f.stat().st_size for f in files) < 4.2 * size


def test_checkpoints_are_small_two_and_no_pickles(quick, parts, tmp_path):
    *_, written = fit(quick, parts, tmp_path / 'run')
    folder = tmp_path / 'run/checkpoints'
    assert len(Checkpoints(tmp_path / 'run').numbers()) == 2 < len(written)
    weights = (tmp_path / 'run/model.safetensors').stat().st_size
    assert all(f.stat().st_size < 3.1 * weights for f in folder.glob('0*.safetensors'))
    assert {f.suffix for f in folder.iterdir()} <= {'.safetensors', '.json', ''}
    assert [place['phase'] for place in written][-1] == 1


def test_short_epochs_share_a_checkpoint(quick, parts, tmp_path):
    "Writing takes less than a thirtieth of the time."
    *_, written = fit(get_recipe(quick, epochs=3), parts, tmp_path / 'run', minutes=10.0)
    assert len(written) < 3


@pytest.mark.parametrize(
    'what', ['truncated', 'other bytes', 'no marker', 'half a marker', 'weights']
)
def test_a_broken_last_checkpoint_falls_back(what, quick, parts, tmp_path, capsys):
    fit(quick, parts, tmp_path / 'run', kill_after=4)
    folder = tmp_path / 'run/checkpoints'
    checkpoints = Checkpoints(tmp_path / 'run')
    first, last = checkpoints.numbers()
    tensors, marker = folder / f'{last:06}.safetensors', folder / f'{last:06}.json'
    data = tensors.read_bytes()
    if what == 'truncated':
        tensors.write_bytes(data[: len(data) // 2])
    elif what == 'other bytes':
        tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif what == 'no marker':
        marker.unlink()
    elif what == 'half a marker':
        marker.write_text(marker.read_text()[:200])
    else:
        state = json.loads(marker.read_text())
        state['state']['files'] = ['weights-0-9.safetensors']
        marker.write_text(json.dumps(state))
    place = checkpoints.read()['place']
    assert place == json.loads((folder / f'{first:06}.json').read_text())['state']['place']
    assert ('is broken' in capsys.readouterr().err) == (what != 'no marker')


@pytest.mark.parametrize(
    'error', [OSError(28, 'No space left on device'), OSError(30, 'Read-only')]
)
def test_a_disk_that_is_full_or_read_only_leaves_the_last_checkpoint_whole(
    error, quick, parts, tmp_path, monkeypatch, capsys
):
    "The fit says so and goes on; where its result cannot be written either, it ends in words."
    recipe = get_recipe(quick, epochs=1)
    whole = fit(recipe, parts, tmp_path / 'whole', minutes=None)
    real, written = os.replace, []

    def replace(source, target):
        written.append(str(target))
        if sum('checkpoints' in name for name in written) > 6:
            raise error
        return real(source, target)

    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(RunError, match=f'Cannot write .*{error.strerror}'):
        fit(recipe, parts, tmp_path / 'run')
    said = capsys.readouterr().err
    assert said.count('No checkpoint is written') == 1 and error.strerror in said
    monkeypatch.undo()
    assert Checkpoints(tmp_path / 'run').read()['place']['batch'] > 0
    assert_same(fit(recipe, parts, tmp_path / 'run'), whole)


def test_the_older_checkpoint_makes_room(tmp_path, monkeypatch):
    checkpoints, real, full = Checkpoints(tmp_path), module.write_whole, []
    for i in (1, 2):
        checkpoints.write(dict(i=i, x=torch.ones(2), files=[]))

    def write_whole(path, data):
        if not full and checkpoints.numbers() == [1, 2]:
            full.append(1)
            raise RunError('Cannot write it: No space left on device.')
        return real(path, data)

    monkeypatch.setattr(module, 'write_whole', write_whole)
    checkpoints.write(dict(i=3, x=torch.ones(2), files=[]))
    assert full and checkpoints.numbers() == [2, 3] and checkpoints.read()['i'] == 3


def test_every_state_comes_back():
    state = dict(
        a=[1, 2.5, None, True, 'x', float('inf')], b=dict(c=torch.arange(3), d=np.ones((2, 0)))
    )
    plain, tensors = pack_state(state)
    back = unpack_state(json.loads(json.dumps(plain)), tensors)
    assert back['a'] == state['a'] and back['b']['c'].tolist() == [0, 1, 2]
    assert back['b']['d'].shape == (2, 0) and back['b']['d'].dtype == torch.float64


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows does not fork')
def test_a_lock_goes_with_its_process_and_not_with_its_children(tmp_path):
    "A process that loads images outlives the one that trains by seconds."
    mine, other = FolderLock(tmp_path / 'lock'), FolderLock(tmp_path / 'lock')
    assert mine.acquire()
    child = os.fork()
    if not child:
        signal.pause()
    try:
        assert not other.acquire()
        mine.close()
        give_up = time.monotonic() + 20
        while not other.acquire():
            # the child has not come to life yet
            assert time.monotonic() < give_up
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        other.close()
    # one that was removed meanwhile is no lock
    assert mine.acquire()
    (tmp_path / 'lock').unlink()
    assert other.acquire()
