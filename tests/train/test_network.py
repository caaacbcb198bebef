"What ends a fit, what does not, and what is written down of it."

import pandas as pd
import pytest
import torch

import leukocls.train.network as fit
from leukocls.data.splits import split_table
from leukocls.train.folder import Fitted, start_run
from leukocls.train.recipes import get_recipe


@pytest.fixture
def two_phases(local_weights):
    "A recipe that trains the head of a pretrained network first, then all of it."
    recipe = get_recipe('mobilenetv2', weights=str(local_weights), size=32, bs=16)
    recipe = get_recipe(recipe, arch='mobilenetv2_035', head_epochs=1, epochs=2, lr=1e-3)
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
    monkeypatch.setattr(fit, 'faster', lambda device: [remark])
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

    monkeypatch.setattr(fit, 'faster', lambda device: [Breaks()])
    _, info, found = fitted(two_phases, table, tmp_path)
    assert info['status'] == 'failed'
    assert 'Training stopped in epoch 4: ValueError' in found.said
    assert 'The loss became nan' in found.said and 'learning rate' not in found.said


def test_threads_are_written_down(run):
    "The same seed gives the same result where as many threads compute."
    assert run.info['threads'] == torch.get_num_threads()
