import json
import socket

import pytest
import timm
import torch
from safetensors.torch import save_file

from leukocls.core.errors import ModelError
from leukocls.data.splits import split_table
from leukocls.data.table import CellDataLoaders
from leukocls.models.architectures import NETWORKS, modified_cnn
from leukocls.models.backbones import _can_download, cell_learner, count_parameters, weights_source


@pytest.fixture(scope='module')
def dls(table):
    return CellDataLoaders.from_table(split_table(table), size=64, bs=4, device='cpu')


def test_p4_parameters(dls):
    "fastai's vision_learner(dls, 'efficientnet_b3') with four classes, frozen: P4's three numbers."
    learn = cell_learner(dls, 'efficientnet_b3', weights='none')
    learn.freeze()
    assert count_parameters(learn.model) == dict(
        total=12_278_312, trainable=1_669_376, frozen=10_608_936
    )


def test_same_network_as_vision_learner(dls):
    from fastai.vision.all import vision_learner

    ours, theirs = (
        cell_learner(dls, 'efficientnet_b0', weights='none'),
        vision_learner(dls, 'efficientnet_b0', pretrained=False),
    )

    def shapes(l):
        return {k: tuple(v.shape) for k, v in l.model.state_dict().items()}

    assert shapes(ours) == shapes(theirs)


def test_p3_network():
    m = modified_cnn()
    kinds = [type(l).__name__ for l in m]
    assert kinds == ['Conv2d', 'ReLU', 'MaxPool2d'] * 3 + [
        'FlattenTo',
        'Linear',
        'ReLU',
        'Linear',
        'ReLU',
        'Linear',
    ]
    assert [l.out_channels for l in m if hasattr(l, 'out_channels')] == [32, 64, 64] and [
        l.out_features for l in m if hasattr(l, 'out_features')
    ] == [128, 128, 4]
    assert all(l.kernel_size == (3, 3) for l in m if hasattr(l, 'out_channels'))


@pytest.mark.parametrize('arch', sorted(NETWORKS))
@pytest.mark.parametrize('grey', [False, True])
def test_own_networks_take_a_step(table, arch, grey):
    dls = CellDataLoaders.from_table(
        split_table(table),
        size=50 if arch == 'modified-cnn' else 64,
        bs=32,
        grey=grey,
        device='cpu',
    )
    learn = cell_learner(dls, arch)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
    assert len(learn.recorder.values) == 1


def test_local_dir(dls, local_weights):
    for name, kw in (
        ('test_efficientnet', dict(weights=local_weights)),
        (f'local-dir:{local_weights}', {}),
    ):
        learn = cell_learner(dls, name, **kw)
        assert learn.arch == 'test_efficientnet' and torch.equal(
            learn.model[0].model.conv_stem.weight,
            timm.create_model(f'local-dir:{local_weights}', pretrained=True).conv_stem.weight,
        )
        assert count_parameters(learn.model)['frozen'] > 0


def test_weights_file(dls, tmp_path):
    m = timm.create_model('test_efficientnet', num_classes=1000)
    save_file(m.state_dict(), tmp_path / 'w.safetensors')
    assert torch.equal(
        cell_learner(dls, 'test_efficientnet', tmp_path / 'w.safetensors')
        .model[0]
        .model.conv_stem.weight,
        m.conv_stem.weight,
    )
    with pytest.raises(ModelError, match='does not fit `resnet18`'):
        cell_learner(dls, 'resnet18', tmp_path / 'w.safetensors')


def test_damaged_weights(dls, local_weights, tmp_path):
    (tmp_path / 'config.json').write_text((local_weights / 'config.json').read_text())
    (tmp_path / 'model.safetensors').write_bytes(
        (local_weights / 'model.safetensors').read_bytes()[:1000]
    )
    with pytest.raises(ModelError):
        cell_learner(dls, 'test_efficientnet', tmp_path)


@pytest.mark.parametrize(
    'arch', ['efficientnet_b3', 'vgg16', 'hf-hub:1aurent/vit_small_patch14_224.dinobloom']
)
def test_no_network_names_three_ways_out(monkeypatch, arch, tmp_path):
    def refuse(*a, **k):
        raise OSError('no network')

    monkeypatch.setattr(socket, 'create_connection', refuse)
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *a, **k: None)
    for k in ('HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(k, raising=False)
    with pytest.raises(ModelError) as e:
        weights_source(arch, 'imagenet')
    for way in (
        'Three ways out',
        'switch the network on',
        'weights="path/to/folder"',
        'weights="none"',
    ):
        assert way in str(e.value)


def test_cached_weights_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *a, **k: str(tmp_path))
    monkeypatch.setattr(socket, 'create_connection', None)
    _can_download('efficientnet_b3')


@pytest.mark.parametrize(
    'arch,weights,said',
    [
        ('mobilenet_v2', 'none', 'Similar:'),
        ('resnet18', 'nowhere.pth', 'Check the path'),
        ('small-cnn', 'x', 'without pretrained weights'),
    ],
)
def test_bad_names(arch, weights, said):
    with pytest.raises(ModelError, match=said):
        weights_source(arch, weights)


def test_arch_without_weights():
    name = next(
        n
        for n in timm.list_models('test_*') + timm.list_models('efficientnet_b*')
        if n not in timm.list_pretrained()
        and not any(p.startswith(n + '.') for p in timm.list_pretrained())
    )
    with pytest.raises(ModelError, match='no pretrained weights'):
        weights_source(name, 'imagenet')


def test_vit_with_a_fixed_size(table, tmp_path):
    "Transformers want their own size; from a local-dir folder, as DinoBloom's would come."
    m = timm.create_model('vit_tiny_patch16_224', img_size=64, num_classes=0)
    save_file(m.state_dict(), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(
        json.dumps(
            dict(
                architecture='vit_tiny_patch16_224',
                num_classes=0,
                model_args=dict(img_size=64),
                pretrained_cfg=dict(
                    input_size=[3, 64, 64],
                    mean=[0.5] * 3,
                    std=[0.5] * 3,
                    num_classes=0,
                    first_conv='patch_embed.proj',
                    classifier='head',
                ),
            )
        )
    )
    learn = cell_learner(
        CellDataLoaders.from_table(split_table(table), size=64, bs=4, device='cpu'),
        'vit_tiny_patch16_224',
        tmp_path,
    )
    assert learn.model(torch.zeros(2, 3, 64, 64)).shape == (2, 4) and learn.model_args == dict(
        img_size=64
    )
