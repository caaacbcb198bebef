"Tuning the upper layers on remembered maps: it equals training them above frozen layers."

import fastai.callback.progress  # noqa: F401 (its methods join Learner)
import fastai.callback.schedule  # noqa: F401 (its methods join Learner)
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn

from leukocls.core.errors import ModelError, RunError
from leukocls.core.machine import set_seed
from leukocls.data.images import Pixels
from leukocls.data.splits import split_table
from leukocls.deploy.bundle import export_bundle
from leukocls.deploy.classifier import Classifier
from leukocls.models.division import divide_network
from leukocls.models.engines import softmax
from leukocls.models.networks import Ready, TorchEngine
from leukocls.models.predictor import eight_views, predict_images
from leukocls.runs.experiment import train
from leukocls.runs.run import Run
from leukocls.train import tune
from leukocls.train.augment import Variations
from leukocls.train.recipes import get_recipe
from leukocls.train.tune import Looks, MapsLoader, maps_of, measure_statistics


@pytest.fixture(scope='module')
def recipe(local_weights):
    how = dict(arch='test_efficientnet', weights=str(local_weights), size=32, epochs=2, bs=8)
    return get_recipe('tune', **how, views=2)


class Count(Callback):
    "A callback as users write them."

    steps = 0

    def after_step(self):
        Count.steps += 1


@pytest.fixture(scope='module')
def tuned(recipe, table, tmp_path_factory, without_plots):
    Count.steps = 0
    with without_plots():
        out = tmp_path_factory.mktemp('tuned')
        return train(recipe, split_table(table), out=out, progress=False, device='cpu', cbs=[Count])


class AboveFrozen(nn.Module):
    "Lower layers that stay as they are in evaluation, and upper ones that learn."

    def __init__(self, below, above):
        super().__init__()
        self.below, self.above = below, above

    def forward(self, x):
        self.below.eval()
        with torch.no_grad():
            maps = self.below(x)
        # in 16 bits, as remembered maps are
        return self.above(maps.half().float())


def network(seed=0):
    set_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, 2)]
    layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 2))


def test_on_maps_is_as_above_frozen_layers():
    pictures, labels = torch.randn(24, 3, 16, 16), torch.arange(24) % 2

    def fitted(whole, inputs):
        set_seed(1)
        loaders = [MapsLoader(inputs[:, None], labels, 8, learns) for learns in (True, False)]
        learn = Learner(DataLoaders(*loaders), whole, loss_func=CrossEntropyLossFlat())
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(3, 1e-2)
        return learn.recorder.values

    net = network().eval()
    plain = divide_network(net, pictures[:2], 0.5)
    slow = fitted(AboveFrozen(plain.below, plain.above), pictures)
    again = divide_network(network().eval(), pictures[:2], 0.5)
    with torch.inference_mode():
        maps = again.below(pictures).half()
    fast = fitted(again.above, maps)
    assert np.allclose(slow, fast, atol=1e-5)
    for name, weight in plain.above.state_dict().items():
        assert torch.allclose(weight, again.above.state_dict()[name], atol=1e-5), name
    # and something was learned
    assert fast[-1][0] < fast[0][0]


def test_maps_are_of_each_picture_and_view(table):
    paths = list(table.path[:5])
    below = Ready(nn.Conv2d(3, 2, 1), [0.5] * 3, [0.5] * 3).eval()
    pixels, engine = Pixels(16), TorchEngine(below, 'cpu')
    engine.bs = 2
    maps = maps_of(paths, Looks(pixels, views=8), engine, (2, 16, 16))
    for i, path in enumerate(paths):
        views = eight_views(pixels.read(path)[None])
        expected = torch.from_numpy(engine(views)).half()
        assert torch.equal(maps[i], expected)
    varied = Looks(pixels, views=2, vary=Variations('stain', 3))
    more = maps_of(paths, varied, engine, (2, 16, 16))
    assert more.shape[:2] == (5, 5)
    assert torch.equal(more[:, :2], maps[:, :2])
    assert not torch.equal(more[:, 2], more[:, 3])


def test_statistics_are_those_of_the_pictures():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    pictures = torch.randn(30, 3, 5, 5) * 3 + 1
    measure_statistics(net, pictures.split(10))
    with torch.no_grad():
        maps = net[0](pictures)
    assert torch.allclose(net[1].running_mean, maps.mean((0, 2, 3)), atol=1e-4)
    # PyTorch averages the variances of the batches
    of_batches = [m.var((0, 2, 3)) for m in maps.split(10)]
    assert torch.allclose(net[1].running_var, torch.stack(of_batches).mean(0), atol=1e-3)
    assert not net.training and net[1].momentum == 0.1


def test_files_open_everywhere(tuned, tmp_path):
    paths = list(tuned.predictions.path[:6])
    known = tuned.predictions.filter(like='p_').to_numpy()[:6]
    for learner in (load_learner(tuned.folder / 'learner.pkl'), Run(tuned.folder).learner):
        p = predict_images(learner, paths, progress=False).filter(like='p_')
        assert np.allclose(p, known, atol=2e-3)
    bundle = export_bundle(tuned, tmp_path / 'bundle')
    classify = Classifier.load(bundle, 'onnxruntime')
    # a bundle's network gives features too, after the logits
    given = classify.engine(np.stack([classify.pixels.read(path) for path in paths]))
    assert np.allclose(softmax(given[:, : classify.k]), known, atol=2e-3)


def test_what_is_said_of_it(tuned, recipe):
    assert Count.steps == 2 * ((tuned.table.split == 'train').sum() // recipe.bs)
    assert tuned.info['callbacks'] == ['Count']
    facts = tuned.info['model']
    assert 0 < facts['frozen'] and facts['total'] == facts['frozen'] + facts['trainable']
    assert tuned.info['tune']['share'] == pytest.approx(recipe.share, rel=0.5)
    card = (tuned.folder / 'model_card.md').read_text(encoding='utf8')
    assert 'Learning rate and epoch by the lowest validation loss.' in card
    assert 'share' in (tuned.folder / 'report.html').read_text(encoding='utf8')


def test_a_rate_that_diverges_is_not_taken_and_not_noted(
    recipe, table, tmp_path, no_plots, monkeypatch
):
    monkeypatch.setattr(tune, 'RATES', ((1e30, 1e30), (1e-3, 3e-3)))
    how = dict(out=tmp_path, progress=False, device='cpu')
    run = train(recipe, split_table(table), lr='find', **how)
    tries = pd.read_csv(run.folder / 'tries.csv')
    assert tries.chosen.tolist() == [False, True]
    assert run.info['status'] == 'finished' and len(run.history) == recipe.epochs
    assert not any('loss became' in note for note in run.info['notes'])


def test_without_validation_images_nothing_is_looked_for(recipe, table, tmp_path, no_plots):
    table = split_table(table, valid_pct=0)
    run = train(recipe, table, out=tmp_path, progress=False, device='cpu', lr='find', epochs=1)
    assert not (run.folder / 'tries.csv').exists()
    assert any('no learning rate was looked for' in note for note in run.info['notes'])
    assert run.info['kept_epoch'] == 1


@pytest.mark.parametrize(
    'changes, kind, words',
    [
        (dict(weights='none'), RunError, 'needs pretrained weights'),
        (dict(members=3), RunError, 'only a network is trained several times'),
        (dict(share=0.0), RunError, 'from 0.01 to 0.99'),
        (dict(variations=2), RunError, 'needs an `augment`'),
    ],
)
def test_refused(recipe, table, tmp_path, changes, kind, words):
    with pytest.raises(kind, match=words):
        train(recipe, split_table(table), out=tmp_path, progress=False, device='cpu', **changes)


def test_two_networks_side_by_side_cannot_be_divided():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    with pytest.raises(ModelError, match='side by side'):
        divide_network(Beside().eval(), torch.randn(2, 3, 8, 8), 0.5)


def test_a_quarter_lies_above_whatever_the_architecture():
    import timm

    for arch in ('resnet18', 'efficientnet_b0', 'convnext_atto', 'regnetx_002'):
        net = timm.create_model(arch, num_classes=0).eval()
        division = divide_network(net, torch.randn(1, 3, 64, 64), 0.25)
        assert 0.15 <= division.share <= 0.4, (arch, division.share)
        total = sum(p.numel() for p in net.parameters())
        parts = [*division.below.parameters(), *division.above.parameters()]
        assert sum(p.numel() for p in parts) == total, arch


@pytest.mark.parametrize('changes', [{}, dict(lr='find')], ids=['a rate', 'a rate to be found'])
def test_a_tune_that_was_stopped_goes_on(recipe, tuned, table, tmp_path, no_plots, changes, capsys):
    "It once began again, in another folder, though the command had said that it would go on."
    how = dict(progress=False, device='cpu', **changes)
    parts = split_table(table)
    stopped = train(recipe, parts, out=tmp_path, hours=1e-6, **how)
    assert stopped.info['status'] == 'interrupted' and not len(stopped.history)
    assert list((stopped.folder / 'checkpoints').glob('*.json'))
    searched = stopped.folder / 'tries.csv'
    before = searched.exists() and searched.stat().st_mtime_ns
    again = train(recipe, parts, out=tmp_path, **how)
    assert 'Going on with' in capsys.readouterr().err
    assert again.folder == stopped.folder and again.info['status'] == 'finished'
    assert again.info['resumed'] == [dict(phase=1, epoch=1, batches=1)]
    whole = tuned if not changes else train(recipe, parts, out=tmp_path / 'whole', **how)
    assert again.predictions.equals(whole.predictions)
    assert again.history.drop(columns='seconds').equals(whole.history.drop(columns='seconds'))
    if changes:
        # the rate is not looked for again
        assert searched.stat().st_mtime_ns == before
        assert tuple(again.info['tune']['lr']) == tuple(whole.info['tune']['lr'])
