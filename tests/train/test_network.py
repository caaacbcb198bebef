"What ends a fit, what does not, and what is written down of it."

import os
import signal
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from shell import program

import leukocls.train.network as fit
from leukocls.core.errors import RunError
from leukocls.data.films import draw_films
from leukocls.data.splits import split_table
from leukocls.runs.run import Run
from leukocls.train.folder import Fitted, start_run
from leukocls.train.recipes import get_recipe


@pytest.fixture
def two_phases(local_weights):
    "A recipe that trains the head of a pretrained network first, then all of it."
    recipe = get_recipe('mobilenetv2', weights=str(local_weights), size=32, bs=16)
    recipe = get_recipe(recipe, arch='test_efficientnet', head_epochs=1, epochs=2, lr=1e-3)
    assert len(fit._phases(recipe, pretrained=True)) == 2
    return recipe


def fitted(recipe, table, tmp_path):
    folder, info = start_run(recipe, split_table(table), tmp_path)
    found = fit.fit_network(recipe, split_table(table), folder, info, 'cpu', progress=False)
    assert isinstance(found, Fitted)
    return pd.read_csv(folder / 'history.csv'), info, found


def test_a_remark_ends_nothing(two_phases, table, tmp_path, monkeypatch):
    """What measures steps says after the first few that compiling does not pay: on CUDA a recipe of
    two phases ended there, and was called finished.
    """
    remark = fit.CompileIfItPays(steps=1)
    monkeypatch.setattr(fit, 'speed_callbacks', lambda device: [remark])
    history, info, found = fitted(two_phases, table, tmp_path)
    assert remark.said.startswith('not compiled')
    assert history.epoch.tolist() == [1, 2, 3] and info['status'] == 'finished'
    assert found.said is None and info['steps'] == remark.said


def test_a_loss_that_is_no_number_ends_all_phases(two_phases, table, tmp_path):
    wild = get_recipe(two_phases, lr=1e12)
    history, info, found = fitted(wild, table, tmp_path)
    assert len(history) < 3 and info['status'] == 'diverged'
    assert 'The loss became' in found.said and 'lower learning rate' in found.said


def test_an_error_is_no_divergence(two_phases, table, tmp_path, monkeypatch):
    "Whatever the error says: the status is not read out of a text."

    class Breaks(fit.GiveBack):
        def after_epoch(self):
            if self.epoch == 1:
                raise ValueError('The loss became nan')

    monkeypatch.setattr(fit, 'speed_callbacks', lambda device: [Breaks()])
    _, info, found = fitted(two_phases, table, tmp_path)
    assert info['status'] == 'failed'
    assert 'Training stopped in epoch 4: ValueError' in found.said
    assert 'The loss became nan' in found.said and 'learning rate' not in found.said


def test_threads_are_written_down(run):
    "The same seed gives the same result where as many threads compute."
    assert run.info['threads'] == torch.get_num_threads()


PROGRAM = '''
import signal

# `nohup`, and a shell that puts the tests into the background, ignore these two
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, 'SIGHUP'):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import leukocls.runs.pipeline as pipeline
from leukocls import FILM_PATIENT, train_all

# what this is about ends with the fit
pipeline.usual_steps = lambda: []
how = dict(epochs=100_000, size=32, bs=16, lr=1e-3, views={views}, members={members})
train_all('films', 'small-cnn', patient=FILM_PATIENT, progress=False, **how)
'''


@pytest.fixture
def training(tmp_path):
    "A process that trains for hours, in its second epoch or later; and the run's folder."
    draw_films(tmp_path / 'films', patients=5, images=4, size=32)
    started = []

    def start(**how):
        process = program(PROGRAM.format(**dict(views=1, members=1) | how), tmp_path)
        started.append(process)
        folder = tmp_path / 'runs/small-cnn-seed42'
        give_up = time.monotonic() + 120
        while not (folder / 'history.csv').exists() or len(Run(folder).history) < 2:
            assert process.is_alive() and time.monotonic() < give_up
            time.sleep(0.1)
        return process, folder

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGTERM that a program could catch')
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_a_session_that_ends_keeps_what_was_learned(name, training):
    "Kaggle, SLURM and `docker stop` send SIGTERM, a connection that breaks SIGHUP."
    process, folder = training()
    os.kill(process.pid, getattr(signal, name))
    process.join(120)
    assert not process.is_alive()
    run = Run(folder)
    assert run.info['status'] == 'interrupted'
    assert any(note.startswith('Interrupted after') for note in run.info['notes'])
    assert len(run.predictions) and run.learner.model is not None


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGKILL')
@pytest.mark.parametrize('how', [{}, dict(views=2), dict(members=2)], ids=str)
def test_a_process_that_is_killed_leaves_history_and_weights(how, training):
    "Such as by a system that runs out of memory: nothing can be done then, so it was done before."
    process, folder = training(**how)
    process.kill()
    process.join()
    run = Run(folder)
    assert run.info['status'] == 'training' and len(run.history) >= 2
    weights = load_file(folder / 'model.safetensors')
    assert set(run.learner.model.state_dict()) == set(weights)
    with pytest.raises(RunError, match='was not finished'):
        run.metrics  # noqa: B018 (reading it is what fails)


def test_callbacks_of_the_users_are_named(table, tmp_path):
    "They may change what a recipe trains, so recipe.json says which there were."
    recipe = get_recipe('small-cnn', size=32, epochs=1, bs=16, lr=1e-3)
    folder, info = start_run(recipe, split_table(table), tmp_path)
    how = dict(device='cpu', progress=False, cbs=[fit.GiveBack()])
    fit.fit_network(recipe, split_table(table), folder, info, **how)
    assert info['callbacks'] == ['GiveBack']
    assert not any('GiveBack' in note for note in info['notes'])


def test_a_frozen_normalisation_at_a_large_rate_is_noted():
    "A fine-tuned MobileNetV2 stayed at 42 % with the recipe's rate, and learned with a tenth of it."

    def notes(**changes):
        recipe = get_recipe('mobilenetv2', **changes)
        return ' '.join(fit._notes_on_plan(recipe, True, {'train', 'valid', 'test'}))

    assert 'a tenth of the rate' in notes(norm='frozen')
    assert 'a tenth of the rate' not in notes(norm='frozen', lr=(1e-4, 3e-4)) + notes()
