"What only a GPU can show: training, replayed graphs, prediction and run folders on CUDA are those of the CPU."

import numpy as np
import pytest
import torch
from fastai.callback import progress  # noqa: F401 (its methods join Learner)
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from torch import nn
from torch.utils.data import TensorDataset

from leukocls.core.machine import set_seed
from leukocls.data.splits import split_table
from leukocls.models.backbones import cell_learner
from leukocls.models.engines import versions_of
from leukocls.models.predictor import Predictor, by_fastai, open_pickle, predict_images
from leukocls.runs.experiment import train
from leukocls.runs.run import Run
from leukocls.train.learners import rebuild
from leukocls.train.loaders import CellDataLoaders
from leukocls.train.network import speed_callbacks
from leukocls.train.speed import (
    CompileIfItPays,
    LossesStay,
    Replay,
    ScaledHalf,
    list_adam,
    record_graph,
)

pytestmark = pytest.mark.cuda


def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.SiLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).cuda()


def images(n=4, bs=8, classes=4):
    "A loader of batches on the GPU, the last one smaller."
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n * bs + 3, 3, 32, 32, generator=g)
    y = torch.randint(classes, (len(x),), generator=g)
    return x, y


class Sums(Callback):
    "Loss and gradients of each batch, before the step."

    order = 55

    def before_fit(self):
        self.seen = []

    def before_step(self):
        self.seen.append(
            [
                self.learn.loss.clone(),
                *(
                    p.grad.clone() / getattr(self, 'by', 1)
                    for p in self.learn.model.parameters()
                    if p.grad is not None
                ),
            ]
        )


@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('half', [None, 'fp16', 'bf16', 'fastai'])
def test_replayed_steps_are_the_same_steps(half, frozen):
    """Loss, gradients, weights and running statistics over several epochs with batches of another
    size in between; recording itself leaves no trace.
    """
    x, y = images()
    found = []
    after = []
    for replay in (False, True):
        set_seed(0)
        m = net()
        m[0].weight.requires_grad_(not frozen)

        def dl(rows, bs):
            return DataLoader(TensorDataset(x[rows].cuda(), y[rows].cuda()), bs=bs)

        learn = Learner(
            DataLoaders(dl(slice(None), 8), dl(slice(0, 19), 8)),
            m,
            loss_func=CrossEntropyLossFlat(),
            opt_func=list_adam,
            metrics=accuracy,
            splitter=lambda m: [list(m.parameters())],
        )
        if half == 'fp16':
            learn.add_cb(ScaledHalf())
        elif half:
            learn.to_fp16() if half == 'fastai' else learn.to_bf16()
        cbs = [sums := Sums(), LossesStay()] + ([r := Replay(steps=2)] if replay else [])
        if replay:
            r._judge = lambda r=r: (setattr(r, 'n', -1), setattr(r, 'said', 'replayed'))
        with learn.no_bar(), learn.no_logging():
            learn.fit(4, 1e-3, cbs=cbs)
        found.append(sums.seen)
        after.append(
            (
                {k: v.clone() for k, v in m.state_dict().items()},
                [[float(v) for v in row] for row in learn.recorder.values],
            )
        )
        assert not replay or (
            r.said == 'replayed' and not r.used and '_do_one_batch' not in vars(learn)
        )
    assert len(found[0]) == len(found[1]) == 20
    rough = dict(rtol=5e-2, atol=5e-3) if half else dict(rtol=5e-3, atol=1e-4)
    for a, b in zip(*found):
        assert len(a) == len(b)
        torch.testing.assert_close(a[0], b[0], **rough)
    for a, b in zip(found[0][:6], found[1][:6]):
        [
            torch.testing.assert_close(
                u / 65536 if half in ('fp16', 'fastai') else u,
                v / 65536 if half in ('fp16', 'fastai') else v,
                **rough,
            )
            for u, v in zip(a[1:], b[1:])
        ]
    for (k, u), v in zip(after[0][0].items(), after[1][0].values()):
        torch.testing.assert_close(u, v, rtol=5e-2, atol=1e-2, msg=k)
    assert torch.equal(
        after[0][0]['1.num_batches_tracked'], after[1][0]['1.num_batches_tracked']
    ) and np.allclose(after[0][1], after[1][1], atol=5e-2)


def test_fused_half_precision_is_fastais():
    """The same curve with fastai's scaler and Adam as with the overflow kept on the GPU and the
    fused kernel; the overflow of one step is left out in both.
    """
    from fastai.optimizer import Adam

    x, y = images()
    curves = []
    for opt, ours in ((Adam, False), (list_adam, True)):
        set_seed(0)
        m = net()
        dl = DataLoader(TensorDataset(x[:32].cuda(), y[:32].cuda()), bs=8)
        learn = Learner(DataLoaders(dl, dl), m, loss_func=CrossEntropyLossFlat(), opt_func=opt)
        learn.add_cb(ScaledHalf()) if ours else learn.to_fp16()
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(5, 1e-2)
        curves.append([float(v) for v in learn.recorder.losses])
    assert len(curves[0]) == 20 and np.allclose(*curves, rtol=2e-2)


def test_dropout_differs_from_replay_to_replay():
    m, x, out = nn.Dropout(0.5), torch.ones(4, 64, device='cuda'), []

    def work():
        out[:] = [m(x)]

    replay = record_graph(work)
    replay()
    a = out[0].clone()
    replay()
    b = out[0].clone()
    assert not torch.equal(a, b) and (a == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_a_network_that_waits_for_the_processor_is_trained_as_it_was(table):
    "A synchronisation inside a network cannot be recorded; the fit goes on, and CUDA with it."

    class Waits(nn.Module):
        def forward(self, x):
            x.sum().item()
            return x

    dls = CellDataLoaders.from_table(split_table(table), size=32, bs=4, device='cuda')
    set_seed(0)
    learn = cell_learner(dls, 'small-cnn', fp16=True)
    learn.model = nn.Sequential(Waits(), learn.model).cuda()
    replay = Replay(steps=2)
    with learn.no_bar(), learn.no_logging():
        learn.fit(4, 1e-3, cbs=[replay])
    assert (
        replay.said.startswith('not replayed: ')
        and '_do_one_batch' not in vars(learn)
        and torch.ones(2, device='cuda').sum().item() == 2
    )


@pytest.mark.parametrize('arch', ['small-cnn', 'mobilenetv2_050'])
def test_a_run_on_a_gpu(table, quick, tmp_path, monkeypatch, arch):
    """Replayed and compiled in the middle of a fit: the run folder, its pickle and what is rebuilt
    from it predict the same on the CPU.
    """
    import leukocls.train.network as fit

    used = []

    def both(device):
        used.extend(c := speed_callbacks(device))
        c[2].steps = c[3].steps = 2
        c[3].least = 0.0 if arch == 'small-cnn' else 1e9
        return c

    monkeypatch.setattr(fit, 'speed_callbacks', both)
    run = train(
        quick,
        table,
        out=str(tmp_path),
        device='cuda',
        progress=False,
        arch=arch,
        epochs=8,
        bs=4,
        lr=1e-3,
        precision='fp16',
    )
    kinds = {type(c): c for c in used}
    assert (
        run.info['precision'] == 'fp16'
        and run.info['device'] == 'cuda'
        and kinds[Replay].said
        and kinds[CompileIfItPays].said
    ), run.info['steps']
    print(run.info['steps'])
    assert (
        len(run.history) == 8 and run.history.train_loss.iloc[-1] < run.history.train_loss.iloc[0]
    )
    want = run.predictions.filter(like='p_').to_numpy()
    paths = run.predictions.path
    for learn in (rebuild(Run(run.folder)), open_pickle(run.folder / 'learner.pkl', trust=True)):
        assert np.abs(predict_images(learn, paths).filter(like='p_').to_numpy() - want).max() < 5e-3


def test_the_same_seed_is_nearly_the_same_run(table, quick, tmp_path):
    "Images on the GPU, augmentation, loss: the first epochs of a run are close to the CPU's."
    a, b = (
        train(
            quick,
            table,
            out=str(tmp_path),
            device=d,
            progress=False,
            augment='none',
            precision='fp32',
            epochs=3,
        )
        for d in ('cpu', 'cuda')
    )
    assert (
        np.allclose(a.history.train_loss, b.history.train_loss, rtol=0.05)
        and np.abs(
            a.predictions.filter(like='p_').to_numpy() - b.predictions.filter(like='p_').to_numpy()
        ).max()
        < 0.05
    )


def test_a_half_precision_learner_predicts_the_fast_way(table):
    """fp16 in training does not leave prediction to fastai's loaders: the engine is compared in
    full precision, and the learner keeps its callback.
    """
    learn = cell_learner(
        CellDataLoaders.from_table(split_table(table), size=32, device='cuda'),
        'mobilenetv2_035',
        'none',
        fp16=True,
    )
    callbacks = [c.name for c in learn.cbs]
    one = Predictor(learn)
    one(table.path[0])
    assert (
        one.engine is not None
        and one.engine.device.type == 'cuda'
        and [c.name for c in learn.cbs] == callbacks
    )
    few = list(table.path[:20])
    p = predict_images(one, few).filter(like='p_').to_numpy()
    assert np.allclose(p, by_fastai(learn, few, exact=True), atol=1e-3)
    if versions_of('openvino'):
        assert (
            np.allclose(
                predict_images(learn, few, engine='openvino').filter(like='p_'), p, atol=2e-3
            )
            and next(learn.model.parameters()).is_cuda
        )


def test_a_run_folder_is_predicted_on_the_gpu(table, quick, tmp_path):
    "Trained on the CPU, rebuilt there, and moved where the prediction is asked for."
    run = train(quick, split_table(table), out=tmp_path, progress=False, device='cpu')
    one = Predictor(Run(run.folder), device='auto')
    few = list(table.path[:20])
    p = predict_images(one, few).filter(like='p_').to_numpy()
    assert one.engine.device.type == 'cuda' and np.allclose(
        p, predict_images(run, few, device='cpu').filter(like='p_'), atol=1e-3
    )
