"Every system of the papers: its settings to the letter, its size, one training step and a round trip on tiny pictures."

import json
import os
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from leukocls.core.errors import ModelError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.models.backbones import cell_learner, network_size
from leukocls.models.networks import views_of
from leukocls.models.predictor import open_pickle, predict_images
from leukocls.runs.experiment import train
from leukocls.runs.run import Run
from leukocls.train.folder import start_run
from leukocls.train.loaders import CellDataLoaders
from leukocls.train.network import fit_network
from leukocls.train.papers import P2_RIGHT, PAPER_SYSTEMS, PAPERS, PARAMETERS
from leukocls.train.recipes import TOPS, get_recipe, protocol, recipes

ISSUE = (
    'p1-cnn p1-alexnet p1-vgg16 p2-resnet50 p2-densenet201 p2-mobilenet p2-vgg19 p2-resnet101'
    ' p2-efficientnet-b7 p2-cml1 p3-modified-cnn p3-vgg16 p3-hybrid p3-svm p3-naive-bayes'
    ' p3-decision-tree p3-random-forest p3-knn p3-e1 p3-e2 p3-e3 p4-efficientnet-b3 effb3'
    ' modified-cnn'
).split()
ALL = [s['name'] for s in PAPER_SYSTEMS]
NETS = [n for n in ALL if get_recipe(n).kind == 'network']
OURS = [n for n in recipes().index if n not in ALL and get_recipe(n).kind == 'network']
HEAVY = {
    'p1-vgg16',
    'p1-vgg16-converges',
    'p2-vgg19',
    'p3-vgg16',
    'p1-alexnet',
    'p1-alexnet-converges',
    'p2-efficientnet-b7',
    'p2-resnet101',
    'p2-densenet201',
    'p2-resnet50',
}


@pytest.fixture(scope='module')
def few(tmp_path_factory):
    "Sixteen pictures to learn from, eight to choose and eight to test on."
    t = read_table(
        draw_films(tmp_path_factory.mktemp('few') / 'films', patients=4, images=2, size=40),
        patient=FILM_PATIENT,
    )
    side = (
        t.groupby('label')
        .cumcount()
        .map(lambda i: 'train' if i < 4 else 'valid' if i < 6 else 'test')
    )
    return split_table(t.assign(split=side.astype('string')), 'given')


@pytest.fixture(scope='module')
def tiny_vit(tmp_path_factory):
    """A timm local-dir folder like DinoBloom's (a DINOv2 ViT with patches of 14), small, with
    weights nobody trained.
    """
    d = tmp_path_factory.mktemp('vit') / 'tiny'
    d.mkdir()
    args = dict(img_size=28, embed_dim=24, depth=2, num_heads=2, init_values=1e-5)
    torch.manual_seed(0)
    m = timm.create_model('vit_small_patch14_dinov2', num_classes=0, **args)
    save_file(m.state_dict(), d / 'model.safetensors')
    cfg = dict(
        input_size=[3, 28, 28],
        mean=[0.5, 0.4, 0.6],
        std=[0.2] * 3,
        num_classes=0,
        pool_size=None,
        first_conv='patch_embed.proj',
        classifier='head',
        fixed_input_size=True,
    )
    (d / 'config.json').write_text(
        json.dumps(
            dict(
                architecture='vit_small_patch14_dinov2',
                num_classes=0,
                num_features=24,
                model_args=args,
                pretrained_cfg=cfg,
            )
        )
    )
    return d


def fitted(name, table, out, **changes):
    "What `train` does, without the report."
    r = get_recipe(name, epochs=1, bs=8, **changes)
    folder, info = start_run(r, table, out, seed=1)
    fit = fit_network(r, table, folder, info, 'cpu', progress=False)
    return folder, info, fit


# The facts
def test_every_name_of_the_issue_is_there():
    assert [get_recipe(n).name for n in ISSUE] and set(ISSUE) <= {*recipes().index, *recipes().also}


def test_p1():
    for n, arch in (
        ('p1-cnn', 'traditional-cnn'),
        ('p1-alexnet', 'alexnet'),
        ('p1-vgg16', 'vgg16'),
    ):
        r = get_recipe(n)
        assert (r.arch, r.size, r.epochs, r.lr, r.opt, r.schedule) == (
            arch,
            224,
            15,
            1e-5,
            'sgd',
            'flat',
        ) and r.data == 'C-NMC 2019'
        c = get_recipe(f'{n}-converges')
        assert (
            (c.arch, c.size, c.epochs, c.weights, c.top, c.opt)
            == (r.arch, r.size, r.epochs, r.weights, r.top, 'adam')
            and not c.published
            and 'barely moves' in c.filled[-2]
        )
    assert (
        get_recipe('p1-vgg16').freeze
        and get_recipe('p1-vgg16').top == 'dropout'
        and get_recipe('p1-vgg16').weights == 'imagenet'
    )


@pytest.mark.parametrize('name', [n for n in ALL if n.startswith('p2-')])
def test_p2(name):
    r = get_recipe(name)
    assert (r.epochs, r.patience, r.augment, r.size, r.keep) == (
        100,
        15,
        'p2',
        224,
        'best',
    ) and protocol(r) == dict(split='random', valid_pct=0.16, test_pct=0.2)
    if name in P2_RIGHT:
        assert abs(sum(P2_RIGHT[name]) / 6 - r.published['accuracy']) <= 0.5


def test_p3():
    assert [get_recipe(n).arch for n in ('p3-vgg16', 'p3-hybrid')] == [
        'vgg16',
        'mobilenetv2_100+resnet18',
    ] and get_recipe('p3-vgg16').top == 'dense-4096'
    assert {n[3:] for n in ALL if get_recipe(n).kind == 'classical'} == {
        'svm',
        'naive-bayes',
        'decision-tree',
        'random-forest',
        'knn',
        'e1',
        'e2',
        'e3',
    }


def test_a_split_of_a_paper_is_repeated(table):
    t = split_table(
        table, **{('method' if k == 'split' else k): v for k, v in protocol('p2-cml1').items()}
    )
    shares = t.split.value_counts(normalize=True)
    assert abs(shares['test'] - 0.2) < 0.02 and abs(shares['valid'] - 0.16) < 0.02


def test_table_of_recipes():
    t = recipes()
    assert {
        'paper',
        'data',
        'size',
        'optimiser',
        'schedule',
        'parameters',
        'published_accuracy',
        'published_specificity',
    } <= set(t.columns) and t.loc['effb3', 'also'] == 'p4-efficientnet-b3'
    for n in NETS:
        assert t.loc[n, 'parameters'] == PARAMETERS[n]
    for n in ALL:
        assert (
            t.loc[n, 'data']
            == PAPERS[next(s for s in PAPER_SYSTEMS if s['name'] == n)['paper']]['data']
        )


# Sizes: what the literature says of each network for 1,000 classes, and its last layer's width
KNOWN = dict(
    vgg16=(138_357_544, 4096),
    vgg19=(143_667_240, 4096),
    resnet50=(25_557_032, 2048),
    resnet101=(44_549_160, 2048),
    densenet201=(20_013_928, 1920),
    mobilenetv1_100=(4_231_976, 1024),
    tf_efficientnet_b7=(66_347_960, 2560),
    mobilenetv2_100=(3_504_872, 1280),
    resnet18=(11_689_512, 512),
    alexnet=(61_100_840, 4096),
)


@pytest.mark.parametrize('name', NETS)
def test_sizes(name):
    """Counted on the meta device at full size, and against the literature where it knows the
    network.
    """
    r = get_recipe(name)
    classes = PAPERS[next(s for s in PAPER_SYSTEMS if s['name'] == name)['paper']]['classes']
    assert network_size(r.arch, classes, 1 if r.grey else 3, r.size, r.top) == PARAMETERS[name]
    parts = r.arch.split('+')
    if set(parts) <= set(KNOWN):
        assert PARAMETERS[name] == sum(
            KNOWN[p][0] - 1000 * (KNOWN[p][1] + 1) for p in parts
        ) + classes * (sum(KNOWN[p][1] for p in parts) + 1)
    else:
        assert name in ('effb3', 'modified-cnn', 'p1-cnn', 'p1-cnn-converges', 'p2-cml1')


def test_sizes_by_hand():
    assert (
        PARAMETERS['modified-cnn']
        == 32 * (9 + 1)
        + 64 * (32 * 9 + 1)
        + 64 * (64 * 9 + 1)
        + 128 * (1024 + 1)
        + 128 * 129
        + 4 * 129
    )
    maps = [3, 32, 64, 128, 256, 256]
    assert (
        PARAMETERS['p2-cml1']
        == sum(o * (i * 9 + 1) + 2 * o for i, o in zip(maps, maps[1:]))
        + 256 * (256 * 49 + 1)
        + 2 * 256
        + 128 * 257
        + 5 * 129
    )


# One step and a round trip
@pytest.fixture
def built(monkeypatch):
    "The weights that each learner of a fit began with."
    import leukocls.train.network as f

    old, kept = f.cell_learner, []

    def build(*args, **kwargs):
        learn = old(*args, **kwargs)
        kept.append({k: p.detach().clone() for k, p in learn.model.named_parameters()})
        return learn

    monkeypatch.setattr(f, 'cell_learner', build)
    return kept


def moved(learn, start):
    "Names of the weights that are no longer what they were."
    net = views_of(learn.model)[1]
    return {k for k, p in net.named_parameters() if not torch.equal(p.detach().cpu(), start[k])}


@pytest.fixture
def narrow_vgg(monkeypatch):
    """timm's VGGs, and the layers that P3 puts in their place, with 128 numbers inside their last layers
    instead of 4,096: these layers are six sevenths of what a test of them computes, writes and reads.
    `test_round_trip[p1-vgg16]` keeps timm's as they are, `test_every_top_loads_without_leukocls` P3's.
    """
    from timm.models import _registry

    for name in ('vgg16', 'vgg19'):
        narrow = partial(_registry._model_entrypoints[name], mlp_ratio=1 / 32)
        monkeypatch.setitem(_registry._model_entrypoints, name, narrow)
    monkeypatch.setattr('leukocls.models.backbones._DENSE', 128)


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in (*NETS, *OURS)]
)
def test_round_trip(name, few, tmp_path, built, request):
    """Builds, takes a training step that moves it, is exported; the rebuilt learner and the pickle
    give the same probabilities.
    """
    if name != 'p1-vgg16':
        request.getfixturevalue('narrow_vgg')
    size = 64 if 'alexnet' in name else 50 if name == 'modified-cnn' else 32
    torch.manual_seed(1)
    folder, info, fit = fitted(name, few, tmp_path, weights='none', size=size)
    assert info['status'] == 'finished' and fit.said is None and moved(fit.learner, built[0])
    p = fit.predict(few.path[:4]).filter(like='p_').to_numpy()
    assert p.shape == (4, 4) and np.allclose(p.sum(1), 1, atol=1e-4)
    again = Run(folder).learner
    assert again is not fit.learner
    for learn in (again, open_pickle(folder / 'learner.pkl', trust=True)):
        assert np.allclose(
            predict_images(learn, few.path[:4]).filter(like='p_').to_numpy(), p, atol=2e-3
        )
    assert str(tmp_path).encode() not in (folder / 'learner.pkl').read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['p1-vgg16', 'p3-vgg16'])
def test_a_frozen_vgg_learns_at_its_top_only(name, few, tmp_path, built, narrow_vgg):
    """From a folder of weights its body stays what it was, as the papers say; the layers of their
    own move, and the run is rebuilt from its folder.
    """
    from leukocls.cli.bench import random_weights

    folder, info, fit = fitted(
        name,
        few,
        tmp_path / 'runs',
        weights=str(random_weights('vgg16', tmp_path / 'vgg16')),
        size=32,
    )
    m, changed = info['model'], moved(fit.learner, built[0])
    assert (
        changed
        and all(k.startswith('1.') for k in changed)
        and m['frozen'] > 14_000_000
        and m['frozen'] + m['trainable'] == m['total']
    )
    p = fit.predict(few.path[:4]).filter(like='p_').to_numpy()
    assert np.allclose(
        predict_images(Run(folder).learner, few.path[:4]).filter(like='p_').to_numpy(), p, atol=2e-3
    )


@pytest.mark.usefixtures('no_plots')
@pytest.mark.parametrize('name', [n for n in ALL if n not in NETS])
def test_round_trip_classical(name, few, tmp_path):
    run = train(name, few, out=tmp_path, seed=1, progress=False, size=32)
    p = run.predictions
    assert (
        np.allclose(
            predict_images(Run(run.folder).learner, p.path).filter(like='p_').to_numpy(),
            p.filter(like='p_').to_numpy(),
            atol=1e-3,
        )
        and (run.folder / 'report.html').exists()
    )


@pytest.mark.parametrize(
    'name,size', [('p1-cnn', 48), ('p2-cml1', 48), ('modified-cnn', 64), ('p3-hybrid', 64)]
)
def test_other_sizes(name, size, few, tmp_path):
    assert fitted(name, few, tmp_path, weights='none', size=size)[1]['status'] == 'finished'


@pytest.mark.slow
def test_p1s_rate_barely_moves_its_network(tmp_path):
    """Two classes that differ in colour: 15 epochs of plain SGD with 1e-5 leave weights and loss
    where they were; with settings that converge the same network tells them apart.
    """
    import pandas as pd
    from PIL import Image

    from leukocls.core.machine import set_seed

    loss, moved, rng, rows = {}, {}, np.random.default_rng(0), []
    for i in range(64):
        p = tmp_path / f'{i}.png'
        Image.fromarray(
            (rng.normal([150, 90, 160] if i % 2 else [150, 150, 160], 30, (32, 32, 3)))
            .clip(0, 255)
            .astype('uint8')
        ).save(p)
        rows.append(dict(path=str(p), label='ab'[i % 2], split='train' if i < 48 else 'valid'))
    t = split_table(read_table(pd.DataFrame(rows)), 'given')
    for name in ('p1-cnn', 'p1-cnn-converges'):
        r = get_recipe(name, size=32, bs=8)
        folder, info = start_run(r, t, tmp_path / 'runs', seed=1)
        fit = fit_network(r, t, folder, info, 'cpu', progress=False)
        h = Run(folder).history
        loss[name] = abs(h.valid_loss.iloc[0] - h.valid_loss.iloc[-1])
        set_seed(1)
        start = cell_learner(
            CellDataLoaders.from_table(t, size=32, bs=8, device='cpu'), r.arch, 'none'
        ).model
        far = torch.cat(
            [(p - q).flatten() for p, q in zip(fit.learner.model.parameters(), start.parameters())]
        ).norm()
        moved[name] = float(far / torch.cat([q.flatten() for q in start.parameters()]).norm())
        if name != 'p1-cnn':
            assert h.accuracy.iloc[-1] > 0.9
    assert (
        loss['p1-cnn'] < 0.01
        and moved['p1-cnn'] < 1e-3
        and loss['p1-cnn-converges'] > 0.3
        and moved['p1-cnn-converges'] > 0.1
    ), (loss, moved)


# Backbones from elsewhere
@pytest.mark.parametrize('name', ['effb3', 'p2-resnet50', 'p1-vgg16', 'p3-vgg16', 'mobilenetv2'])
@pytest.mark.parametrize('how', ['arch', 'weights'])
def test_local_vit_in_any_recipe(name, how, few, tiny_vit, tmp_path):
    """A ViT from a folder, at a size that is not its own: positions are resampled, the run is
    rebuilt from its own folder.
    """
    where = (
        dict(arch=f'local-dir:{tiny_vit}')
        if how == 'arch'
        else dict(arch='vit_small_patch14_dinov2', weights=str(tiny_vit))
    )
    folder, info, fit = fitted(name, few, tmp_path, size=42, **where)
    m = info['model']
    assert (
        m['arch'] == 'vit_small_patch14_dinov2'
        and m['model_args']['img_size'] == 42
        and m['model_args']['depth'] == 2
        and np.allclose(m['mean'], [0.5, 0.4, 0.6])
    )
    p = fit.predict(few.path[:4]).filter(like='p_').to_numpy()
    assert (
        np.allclose(
            predict_images(Run(folder).learner, few.path[:4]).filter(like='p_').to_numpy(),
            p,
            atol=1e-4,
        )
        and str(tiny_vit).encode() not in (folder / 'learner.pkl').read_bytes()
    )


def test_weights_of_the_folder_are_used(few, tiny_vit):
    from safetensors.torch import load_file

    dls = CellDataLoaders.from_table(few, size=28, bs=8, device='cpu')
    want = load_file(tiny_vit / 'model.safetensors')['blocks.0.attn.qkv.weight']
    for top in ('fastai', 'linear'):
        learn = cell_learner(dls, f'local-dir:{tiny_vit}', top=top)
        assert (
            torch.equal(learn.model[0].model.blocks[0].attn.qkv.weight, want)
            and not learn.model[0].model.blocks[0].attn.qkv.weight.requires_grad
        )


@pytest.mark.parametrize('name', ['p1-cnn', 'small-cnn', 'modified-cnn', 'p2-cml1'])
def test_a_backbone_in_a_recipe_that_starts_from_random_numbers(name, few, tiny_vit, tmp_path):
    """A name that says where its weights are brings them, and all of it is trained, as the recipe
    says.
    """
    from safetensors.torch import load_file

    folder, info, fit = fitted(
        name, few, tmp_path, size=28, arch=f'local-dir:{tiny_vit}', lr=1e-6, augment='none'
    )
    m = info['model']
    assert m['trainable'] == m['total'] and info['recipe']['weights'] == 'imagenet'
    got, want = (
        fit.learner.model[0].model.blocks[0].attn.qkv.weight.detach().cpu(),
        load_file(tiny_vit / 'model.safetensors')['blocks.0.attn.qkv.weight'],
    )
    assert 0 < (got - want).abs().max() < 1e-3


def test_a_backbone_without_its_weights(few, tiny_vit, tmp_path):
    "weights='none' takes the architecture of a folder and leaves its weights."
    from safetensors.torch import load_file

    folder, info, fit = fitted(
        'effb3', few, tmp_path, size=28, arch=f'local-dir:{tiny_vit}', weights='none', lr=1e-6
    )
    m = info['model']
    assert (
        m['trainable'] == m['total']
        and m['arch'] == 'vit_small_patch14_dinov2'
        and m['model_args']['depth'] == 2
    )
    assert (
        fit.learner.model[0].model.blocks[0].attn.qkv.weight.detach().cpu()
        - load_file(tiny_vit / 'model.safetensors')['blocks.0.attn.qkv.weight']
    ).abs().max() > 0.01 and any('random weights' in n for n in info['notes'])
    p = fit.predict(few.path[:4]).filter(like='p_').to_numpy()
    assert np.allclose(
        predict_images(Run(folder).learner, few.path[:4]).filter(like='p_').to_numpy(), p, atol=1e-4
    )


def test_dinobloom_by_its_hub_name(few, tiny_vit, tmp_path):
    """`hf-hub:1aurent/vit_small_patch14_224.dinobloom` out of a hub cache that holds the tiny ViT,
    without a network; the run is then rebuilt where no hub is known.
    """
    import shutil

    snapshot = (
        tmp_path
        / 'hub'
        / 'models--1aurent--vit_small_patch14_224.dinobloom'
        / 'snapshots'
        / ('0' * 40)
    )
    shutil.copytree(tiny_vit, snapshot)
    refs = snapshot.parent.parent / 'refs'
    refs.mkdir()
    (refs / 'main').write_text('0' * 40)
    few.to_csv(tmp_path / 'few.csv', index=False)
    code = textwrap.dedent(f'''
        import pandas as pd
        from leukocls.data.table import read_table
        from leukocls.data.splits import split_table
        from leukocls.runs.experiment import train
        run = train(
            'effb3',
            split_table(read_table({str(tmp_path / "few.csv")!r}), 'given'),
            out={str(tmp_path / "runs")!r},
            progress=False,
            device='cpu',
            arch='hf-hub:1aurent/vit_small_patch14_224.dinobloom',
            epochs=1,
            bs=8,
            size=28,
        )
        print(run.folder)''')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        env={**os.environ, 'HF_HUB_CACHE': str(tmp_path / 'hub'), 'HF_HUB_OFFLINE': '1'},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = Run(done.stdout.strip().splitlines()[-1])
    m = run.info['model']
    assert (
        m['arch'] == 'vit_small_patch14_dinov2'
        and m['model_args']['depth'] == 2
        and run.info['recipe']['arch'].startswith('hf-hub:')
    )
    p = run.predictions
    assert np.allclose(
        predict_images(run.learner, p.path).filter(like='p_').to_numpy(),
        p.filter(like='p_').to_numpy(),
        atol=1e-4,
    )


def test_two_networks_from_two_folders(few, tiny_vit, local_weights, tmp_path):
    """The hybrid with weights from folders; each network gets the picture normalised as its own
    weights expect.
    """
    folder, info, fit = fitted(
        'p3-hybrid', few, tmp_path, size=28, arch=f'local-dir:{local_weights}+local-dir:{tiny_vit}'
    )
    body = fit.learner.model[0]
    assert (
        info['model']['arch'] == 'test_efficientnet+vit_small_patch14_dinov2'
        and torch.allclose(body.scale[1], torch.tensor([0.3 / 0.2] * 3))
        and torch.allclose(body.shift[1], torch.tensor([-0.1, 0, -0.2]) / 0.2, atol=1e-5)
    )
    p = fit.predict(few.path[:4]).filter(like='p_').to_numpy()
    assert np.allclose(
        predict_images(Run(folder).learner, few.path[:4]).filter(like='p_').to_numpy(), p, atol=1e-4
    )


@pytest.mark.parametrize(
    'kw,said',
    [
        (dict(arch='mobilenetv2_100+resnet18', weights='a+b+c'), 'is 2 networks'),
        (dict(arch='mobilenetv2_100+resnt18'), 'No network is named'),
    ],
)
def test_slips(kw, said, few):
    with pytest.raises(ModelError, match=said):
        cell_learner(
            CellDataLoaders.from_table(few, size=32, bs=8, device='cpu'),
            **{'weights': 'none', **kw},
        )


def test_every_top_loads_without_leukocls(few, tmp_path):
    "Heads are made of fastai's and PyTorch's layers."
    for top in TOPS:
        cell_learner(
            CellDataLoaders.from_table(few, size=32, bs=8, device='cpu'),
            'test_efficientnet' if top != 'dense-4096' else 'resnet10t',
            'none',
            top=top,
        ).export(tmp_path / f'{top}.pkl')
    cell_learner(
        CellDataLoaders.from_table(few, size=32, bs=8, device='cpu'),
        'test_efficientnet+resnet10t',
        'none',
        top='dense-4096',
    )
    code = (
        'import sys; sys.modules["leukocls"] = None; from fastai.learner import load_learner\nfor p'
        ' in sys.argv[1:]: l = load_learner(p); print(l.dls.vocab, len(l.model[1]))'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *(str(tmp_path / f'{t}.pkl') for t in TOPS)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.count('Benign') == len(TOPS), done.stderr[-1500:]
