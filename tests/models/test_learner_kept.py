"""Predicting, judging, explaining and exporting use a learner as it is: afterwards it is on the same
device, in the same mode, with the same callbacks, hooks and weights.
"""

import pytest
import torch
from fastai.callback.tracker import SaveModelCallback
from torch import nn

from leukocls.deploy.bundle import export_bundle
from leukocls.measure.explanation import heat_of
from leukocls.models.predictor import Predictor, by_fastai, evaluate, predict_images
from leukocls.runs.run import Run

# where the tests' learner is not, if there is such a device
BEST = 'cuda' if torch.cuda.is_available() else 'cpu'


def state_of(learn):
    "What may not change."
    model = learn.model
    return dict(
        devices=[p.device for p in model.parameters()],
        where=[p.data_ptr() for p in model.parameters()],
        dtypes=[p.dtype for p in model.parameters()],
        learns=[p.requires_grad for p in model.parameters()],
        gradients=[p.grad is None for p in model.parameters()],
        modes=[m.training for m in model.modules()],
        hooks=[(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        model=id(model),
        images=[learn.dls.device, *(dl.device for dl in learn.dls.loaders)],
        loaders=[id(dl) for dl in learn.dls.loaders],
        callbacks=[id(cb) for cb in learn.cbs],
        attributes={name: id(value) for name, value in vars(learn).items()},
        weights=[float(v.double().sum()) for v in model.state_dict().values()],
    )


@pytest.fixture
def learn(run):
    "A learner in the middle of something: layers in different modes, a hook, a callback."
    learn = Run(run.folder).learner
    learn.model.train()
    next(m for m in learn.model.modules() if isinstance(m, nn.Conv2d)).eval()
    learn.model.register_forward_hook(lambda module, inputs, output: None)
    learn.add_cb(SaveModelCallback(monitor='valid_loss'))
    learn.to_fp16()
    return learn


def use_engines(learn, table):
    for engine in ('torch', 'torch-bf16', 'openvino', 'onnxruntime'):
        predict_images(learn, table.path[:3], engine=engine)


USES = {
    'Predictor': lambda learn, table: Predictor(learn, n=3)(table.path[0]),
    'predict_images': lambda learn, table: predict_images(learn, table.path[:3]),
    'a device': lambda learn, table: predict_images(learn, table.path[:3], device=BEST),
    'each engine': use_engines,
    'views': lambda learn, table: predict_images(learn, table.path[:3], tta=True),
    'by_fastai': lambda learn, table: by_fastai(learn, table.path[:3], exact=True),
    'evaluate': lambda learn, table: evaluate(learn, table),
    'heat map': lambda learn, table: heat_of(learn, table.path[0]),
}


@pytest.mark.parametrize('use', USES)
def test_using_a_learner_leaves_it_as_it_was(learn, table, use):
    before = state_of(learn)
    USES[use](learn, table)
    after = state_of(learn)
    assert before == after, [name for name in before if before[name] != after[name]]


def test_what_only_fastai_can_feed_stays_as_it_was(learn, table, monkeypatch):
    monkeypatch.setattr('leukocls.models.predictor.network_of', lambda learn: None)
    predictor = Predictor(learn)
    assert predictor.ready is None
    before = state_of(learn)
    predict_images(predictor, table.path[:3])
    assert state_of(learn) == before


def test_an_error_leaves_it_as_it_was(learn, table, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError('no')

    monkeypatch.setattr(learn.dls.__class__, 'test_dl', fails)
    before = state_of(learn)
    with pytest.raises(RuntimeError, match='no'):
        by_fastai(learn, table.path[:2])
    assert state_of(learn) == before


def test_exporting_leaves_it_as_it_was(run, learn, tmp_path):
    mine = Run(run.folder, learn)
    before = state_of(learn)
    export_bundle(mine, tmp_path / 'bundle')
    assert state_of(learn) == before


def test_it_still_learns(learn, table):
    "A learner that predicted goes on training."
    predict_images(learn, table.path[:3])
    weights = [p.detach().clone() for p in learn.model.parameters()]
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, SaveModelCallback)])
    learn.to_fp32()
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert any(not torch.equal(a, b) for a, b in zip(weights, learn.model.parameters()))
