"Old pickles become bundles; nothing of them runs unless the user says so."

import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from shell import leukocls

from leukocls.core.errors import LeukoError, ModelError
from leukocls.deploy.bundle import Bundle
from leukocls.deploy.classifier import Classifier
from leukocls.deploy.conversion import convert_pickle, read_learner, read_pickle


class Runs:
    "Would leave a file if anything of it ran."

    def __init__(self, func, *args):
        self.func, self.args = func, args

    def __reduce__(self):
        return self.func, self.args


@pytest.mark.parametrize(
    'what',
    [
        lambda f: Runs(os.system, f'touch {f}'),
        lambda f: Runs(exec, f'open({str(f)!r}, "w")'),
        lambda f: Runs(subprocess.check_call, ['touch', str(f)]),
        lambda f: Runs(eval, f'open({str(f)!r}, "w")'),
        lambda f: Runs(os.makedirs, str(f)),
        lambda f: {'model': [Runs(getattr, 'x', 'upper')], 'x': Runs(open, str(f), 'w')},
        lambda f: torch.nn.Sequential(
            torch.nn.Linear(1, 1),
            type(
                'M', (torch.nn.Module,), {'__reduce__': lambda self: (os.system, (f'touch {f}',))}
            )(),
        ),
    ],
)
def test_nothing_runs(tmp_path, what):
    made = tmp_path / 'made'
    f = tmp_path / 'x.pkl'
    try:
        torch.save(what(made), f)
    except (pickle.PicklingError, TypeError, AttributeError) as e:
        pytest.fail(f'the attack cannot be written: {e}')
    with pytest.raises(ModelError):
        convert_pickle(f, tmp_path / 'b')
    assert not made.exists() and not (tmp_path / 'b').exists()
    held, named = read_pickle(f)
    assert not made.exists() and any(
        n.split('.')[-1] in ('system', 'exec', 'eval', 'check_call', 'makedirs', 'open', 'getattr')
        for n in named
    )


@pytest.mark.parametrize(
    'data', [b'', b'x', b'PK\x03\x04', b'\x80\x04.', b'cos\nsystem\n(S"true"\ntR.', b'\x00' * 1000]
)
def test_damaged(tmp_path, data):
    (tmp_path / 'x.pkl').write_bytes(data)
    with pytest.raises(ModelError):
        convert_pickle(tmp_path / 'x.pkl', tmp_path / 'b')


def test_damaged_inside(run, tmp_path):
    with zipfile.ZipFile(run.folder / 'learner.pkl') as z:
        names = {n: z.read(n) for n in z.namelist()}
    rng = np.random.default_rng(0)
    stream = next(n for n in names if n.endswith('data.pkl'))
    for k in range(25):
        data = bytearray(names[stream])
        i = int(rng.integers(len(data)))
        data[i] ^= 1 << int(rng.integers(8))
        cut = bytes(data)[: int(rng.integers(len(data)))] if k % 5 == 0 else bytes(data)
        with zipfile.ZipFile(tmp_path / 'x.pkl', 'w') as z:
            for n, b in names.items():
                z.writestr(n, cut if n == stream else b)
        try:
            read_learner(tmp_path / 'x.pkl')  # what is not damaged beyond reading is read
        except LeukoError:
            pass


def test_memory_is_not_filled(run, tmp_path):
    """A place in the reader's memory with a number of ten digits would cost it sixteen gigabytes;
    an entry of zeros packs well.
    """
    with zipfile.ZipFile(run.folder / 'learner.pkl') as z:
        names = {n: z.read(n) for n in z.namelist()}
    stream = next(n for n in names if n.endswith('data.pkl'))
    data = names[stream]
    at = 2
    bad = data[:at] + b'Nr' + (2**31 - 1).to_bytes(4, 'little') + b'0' + data[at:]

    def packed(content, how):
        with zipfile.ZipFile(tmp_path / 'x.pkl', 'w', how) as z:
            for n, b in names.items():
                z.writestr(n, content if n == stream else b)
        return tmp_path / 'x.pkl'

    with pytest.raises(ModelError, match='is damaged at byte'):
        read_learner(packed(bad, zipfile.ZIP_STORED))
    with pytest.raises(ModelError, match='is packed as no file'):
        read_learner(packed(bytes(50_000_000), zipfile.ZIP_DEFLATED))
    read_learner(packed(data, zipfile.ZIP_STORED))


def test_a_run_and_its_pickle_agree(run, small_bundle, tmp_path):
    b = convert_pickle(run.folder / 'learner.pkl', tmp_path / 'b', trust=True)
    a, b = (
        Classifier.load(small_bundle, 'onnxruntime'),
        Classifier.load(tmp_path / 'b', 'onnxruntime'),
    )
    assert a.classes == b.classes and a.pixels == b.pixels
    x = np.stack([a.pixels.read(p) for p in run.table.path[:8]])
    assert np.abs(a.engine(x)[:, : a.k] - b.engine(x)[:, : b.k]).max() < 1e-5
    p = b(run.table.path[0])
    assert (
        p.classes is None
        and p.in_domain is None
        and any('never calibrated' in w for w in p.warnings)
    )


@pytest.mark.parametrize('arch', ['mobilenetv2_035', 'resnet10t'])
def test_plain_fastai(films, tmp_path, arch):
    "As people export it who never heard of leukocls."
    from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms, vision_learner

    dls = ImageDataLoaders.from_folder(
        films,
        valid_pct=0.3,
        item_tfms=Resize(64, method='squish'),
        batch_tfms=aug_transforms(),
        bs=4,
        num_workers=0,
    )
    learn = vision_learner(dls, arch, pretrained=False)
    learn.export(tmp_path / 'x.pkl')
    b = convert_pickle(tmp_path / 'x.pkl', tmp_path / 'b', trust=True)
    assert (
        b.config['parity']['largest_difference']['learner'] < 1e-3
        and b.config['timm']
        and b.config['network']['arch'] == arch
    )
    image = next(str(p) for p in films.rglob('*.png'))
    want = dict(zip(learn.dls.vocab, map(float, learn.predict(image)[2])))
    got = Classifier.load(tmp_path / 'b')(image).probabilities
    assert got.keys() == want.keys() and max(abs(got[c] - want[c]) for c in want) < 1e-3


def test_written_by_python_3_11_2(films, tmp_path, monkeypatch):
    "Debian 12's Python pickles the members of an enumeration by name."
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from PIL import Image

    monkeypatch.setattr(
        Image.Resampling, '__reduce_ex__', lambda self, protocol: (getattr, (type(self), self.name))
    )
    learn = vision_learner(
        ImageDataLoaders.from_folder(
            films, valid_pct=0.3, item_tfms=Resize(32, method='squish'), bs=4, num_workers=0
        ),
        'resnet10t',
        pretrained=False,
    )
    learn.export(tmp_path / 'x.pkl')
    found = read_learner(tmp_path / 'x.pkl')
    assert (
        any(n.endswith('.getattr') for n in found['named'])
        and found['pixels'].size == 32
        and found['classes'] == list(learn.dls.vocab)
    )


@pytest.mark.parametrize(
    'how, said',
    [
        ('crop', 'Resize to .* by crop'),
        ('tv', 'only timm backbones'),
        ('open', 'a transform .* of images'),
    ],
)
def test_what_cannot_be_said(films, tmp_path, how, said):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        Resize,
        TransformBlock,
        get_image_files,
        parent_label,
        resnet18,
        vision_learner,
    )
    from fastai.vision.core import PILImage

    block = DataBlock(
        (
            (
                TransformBlock(type_tfms=[PILImage.create, upside_down])
                if how == 'open'
                else ImageBlock
            ),
            CategoryBlock,
        ),
        get_items=get_image_files,
        get_y=parent_label,
        item_tfms=Resize(32, method='crop' if how == 'crop' else 'squish'),
    )
    learn = vision_learner(
        block.dataloaders(films, bs=4, num_workers=0),
        resnet18 if how == 'tv' else 'resnet10t',
        pretrained=False,
    )
    learn.export(tmp_path / 'x.pkl')
    with pytest.raises(ModelError, match=said):
        convert_pickle(tmp_path / 'x.pkl', tmp_path / 'b')


def upside_down(im):
    return im.rotate(180)


def test_cli(run, tmp_path):
    done = leukocls('export', run.folder / 'learner.pkl', '--out', tmp_path / 'b')
    assert done.returncode == 2 and '--trust' in done.stderr and 'Traceback' not in done.stderr
    done = leukocls('export', run.folder / 'learner.pkl', '--out', tmp_path / 'b', '--trust')
    assert done.returncode == 0, done.stderr
    Bundle(tmp_path / 'b')


def test_code_around_a_network_is_compared_and_never_run(tmp_path):
    """Views and ensembles are PyTorch graphs, whose pickle holds code as text: what leukocls would
    not write is refused, and nothing of it runs.
    """
    import torch

    from leukocls.deploy.conversion import _members_in, _views_in, read_pickle
    from leukocls.models.networks import with_members, with_views

    def unrun(net):
        torch.save(net, tmp_path / 'n.pt')
        return read_pickle(tmp_path / 'n.pt')[0]

    nets = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)]
    for v in range(2, 9):
        assert _views_in(unrun(with_views(with_members(nets), v)))[0] == v
    product = with_members(nets)
    for node in product.graph.nodes:
        if node.target == 'logsumexp':
            node.target = 'prod'
    product.recompile()
    with pytest.raises(ModelError, match='a graph that this version'):
        _members_in(unrun(product))
    turned = with_views(nets[0], 2)
    turned[2] = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.ReLU()))
    with pytest.raises(ModelError, match='leukocls export RUN'):
        _views_in(unrun(turned))
    evil = with_members(nets)
    evil.__dict__['_code'] = evil.code + f"\nopen({str(tmp_path / 'ran')!r}, 'w')"
    with pytest.raises(ModelError):
        _members_in(unrun(evil))
    assert not (tmp_path / 'ran').exists()
