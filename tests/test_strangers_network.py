"A description of a network, a folder of weights, a run folder: what strangers may ask timm for."

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from fuzz_pickle import pack, seeds, unpack
from safetensors.torch import save_file

from leukocls.core.errors import LeukoError, ModelError
from leukocls.deploy.conversion import read_learner
from leukocls.models.architectures import NETWORKS
from leukocls.models.backbones import weights_source
from leukocls.models.description import build_layers, build_network, describe_network
from leukocls.models.networks import check_network, stage_body

SMALL = dict(kind='own', arch='small-cnn', model_args={}, size=32, channels=3, classes=4)
HEAD = [
    'Sequential',
    ['ConcatPool', {}],
    ['Flatten', {}],
    ['Linear', dict(in_features=192, out_features=4, bias=True)],
]
TIMM = dict(
    kind='timm', arch='test_resnet', model_args={}, size=32, channels=3, maps=True, head=HEAD
)
STAGES = TIMM | dict(
    kind='stages', maps=False, head=['Linear', dict(in_features=800, out_features=4, bias=True)]
)


@pytest.fixture(scope='module')
def weights():
    "(body, head) of each description."
    body = timm.create_model('test_resnet', num_classes=0).state_dict()
    stages = timm.create_model('test_resnet', features_only=True).state_dict()
    return dict(
        own=(NETWORKS['small-cnn'](4, 3).state_dict(), {}),
        timm=(body, {'2.weight': torch.zeros(4, 192), '2.bias': torch.zeros(4)}),
        stages=(stages, {'weight': torch.zeros(4, 800), 'bias': torch.zeros(4)}),
    )


def test_what_fits_is_built(weights):
    for described in (SMALL, TIMM, STAGES):
        net = build_network(json.loads(json.dumps(described)), *weights[described['kind']])
        assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


# What timm may be asked for


@pytest.fixture(scope='module')
def poison(tmp_path_factory):
    "(a pickle that leaves a file when it is loaded, that file)."
    folder = tmp_path_factory.mktemp('poison')

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(folder / 'ran'),)

    torch.save(dict(state_dict=Evil()), folder / 'x.pth')
    (folder / 'config.json').write_text('{"architecture": "test_resnet"}')
    return folder / 'x.pth', folder / 'ran'


ASKED = dict(
    checkpoint=dict(model_args=dict(checkpoint_path='PTH')),
    file=dict(model_args=dict(pretrained=True, pretrained_cfg=dict(file='PTH'))),
    overlay=dict(model_args=dict(pretrained_cfg_overlay=dict(file='PTH'))),
    url=dict(model_args=dict(pretrained=True, pretrained_cfg=dict(url='http://127.0.0.1:9/x'))),
    hub_id=dict(model_args=dict(pretrained_cfg_overlay=dict(hf_hub_id='a/b'), pretrained=True)),
    cache=dict(model_args=dict(cache_dir='FOLDER')),
    hub=dict(arch='hf-hub:timm/test_resnet.r160_in1k'),
    old_hub=dict(arch='hf_hub:timm/test_resnet.r160_in1k'),
    upper=dict(arch='HF-HUB:timm/test_resnet.r160_in1k'),
    folder=dict(arch='local-dir:FOLDER'),
    address=dict(arch='https://127.0.0.1:9/test_resnet'),
    path=dict(arch='FOLDER/test_resnet'),
    line=dict(arch='test_resnet\n'),
    tag=dict(arch='test_resnet.../../x'),
    words=dict(model_args=dict(act_layer='os.system')),
    table=dict(model_args=dict(block_args=dict(x=1))),
    scriptable=dict(model_args=dict(scriptable=True)),
)


def filled(value, pth):
    text = json.dumps(value).replace('PTH', str(pth)).replace('FOLDER', str(pth.parent))
    return json.loads(text)


@pytest.mark.parametrize('described', [TIMM, STAGES], ids=['timm', 'stages'])
@pytest.mark.parametrize('asked', ASKED)
def test_description_asks_for_no_file_and_no_address(
    weights, poison, asked, described, monkeypatch
):
    asked_of_timm = []
    real = timm.create_model

    def create(name, **kwargs):
        asked_of_timm.append((name, kwargs))
        return real(name, **kwargs)

    monkeypatch.setattr(timm, 'create_model', create)
    with pytest.raises(ModelError):
        build_network(described | filled(ASKED[asked], poison[0]), *weights[described['kind']])
    assert not asked_of_timm and not poison[1].exists()


@pytest.mark.parametrize('asked', [k for k, v in ASKED.items() if 'model_args' in v])
def test_folder_of_weights_asks_for_nothing_else(poison, tmp_path, asked):
    config = dict(architecture='test_resnet', **filled(ASKED[asked], poison[0]))
    (tmp_path / 'config.json').write_text(json.dumps(config))
    save_file(timm.create_model('test_resnet').state_dict(), tmp_path / 'model.safetensors')
    for arch, where in (('test_resnet', tmp_path), (f'local-dir:{tmp_path}', 'imagenet')):
        with pytest.raises(ModelError, match='what shapes a network'):
            weights_source(arch, where)
    with pytest.raises(ModelError, match='timm.list_models'):
        (tmp_path / 'config.json').write_text('{"architecture": "hf-hub:a/b"}')
        weights_source(f'local-dir:{tmp_path}', 'imagenet')


@pytest.mark.parametrize('asked', ASKED)
def test_stages_from_a_file(poison, asked):
    "As a probe's run folder is rebuilt: without weights, by the name that recipe.json gives."
    change = filled(ASKED[asked], poison[0])
    args = {k: v for k, v in change.get('model_args', {}).items() if k != 'pretrained'}
    with pytest.raises(ModelError):
        stage_body(change.get('arch', 'test_resnet'), 32, **args)
    assert not poison[1].exists()


@pytest.mark.parametrize('asked', ASKED)
def test_run_folder_asks_for_no_file_and_no_address(run, poison, tmp_path, asked):
    import shutil

    from leukocls.runs.run import Run

    folder = shutil.copytree(run.folder, tmp_path / 'run')
    info = json.loads((folder / 'recipe.json').read_text())
    info['model'] |= dict(arch='test_resnet', model_args={}) | filled(ASKED[asked], poison[0])
    (folder / 'recipe.json').write_text(json.dumps(info))
    from leukocls.train.learners import rebuild

    with pytest.raises(LeukoError, match='list_models|shapes a network'):
        rebuild(Run(folder))
    assert not poison[1].exists()


def test_pickle_asks_for_no_file_and_no_address(tmp_path):
    "The name stands in timm's own settings, as deep as it may be."
    data = seeds()['timm']
    for old, new in ((b'test_resnet', b'hf-hub:a/bc'), (b'test_resnet', b'x/y/resnet0')):
        records = [(n, b.replace(old, new) if n.endswith('.pkl') else b) for n, b in unpack(data)]
        (tmp_path / 'x.pkl').write_bytes(pack(records))
        with pytest.raises(ModelError, match='timm.list_models'):
            read_learner(tmp_path / 'x.pkl')


def test_what_networks_are_built_with_passes():
    check_network('mobilenetv2_100', dict(pad_type='same', drop_rate=0.2, drop_path_rate=None))
    check_network('vit_small_patch14_dinov2.lvd142m', dict(img_size=[28, 28], init_values=1e-5))
    check_network('swin_tiny_patch4_window7_224', dict(window_size=(7, 7), depths=[2, 2, 6, 2]))
    check_network('resnet18+resnet34', [dict(output_stride=16), dict(act_layer='gelu_tanh')])
    check_network('small-cnn')


WATCHED = """
import json, os, socket, sys, sysconfig
from pathlib import Path
import timm, torch
from leukocls.deploy.conversion import read_learner
from leukocls.core.errors import LeukoError
from leukocls.models.backbones import weights_source
from leukocls.models.description import build_network
import leukocls.train.augment

own, pth = Path(sys.argv[1]), sys.argv[2]
known = [str(own), sys.prefix, sys.base_prefix, sysconfig.get_path('stdlib'), '/proc/', '/sys/', '/dev/']
known += [str(Path(m.__file__).parent) for m in (timm, torch, leukocls)]
events = []

def refuse(*args, **kwargs):
    raise AssertionError('a connection was asked for')

def hook(event, args):
    if event == 'open' and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if not path.startswith(tuple(known)) or args[2] and args[2] & (os.O_WRONLY | os.O_RDWR):
            events.append(path)
    elif event.split('.')[0] in ('socket', 'subprocess') or event == 'os.system':
        events.append(event)

socket.socket = socket.create_connection = refuse
sys.addaudithook(hook)
answers = []
for work in json.loads(Path(sys.argv[3]).read_text()):
    try:
        if 'pickle' in work:
            found = read_learner(work['pickle'])
            build_network(found['described'], found['body'], found['head'])
        elif 'folder' in work:
            weights_source(work['arch'], work['folder'])
        else:
            build_network(work, {}, {})
        answers.append('built')
    except LeukoError as e:
        answers.append(str(e))
print(json.dumps([answers, events]))
"""


def test_reading_opens_no_connection_and_no_file(poison, tmp_path):
    "In a process without a network, whose every opened file is noted."
    own = tmp_path / 'own'
    own.mkdir()
    work = [TIMM | filled(a, poison[0]) for a in ASKED.values()]
    work += [STAGES | filled(a, poison[0]) for a in ASKED.values()]
    (own / 'config.json').write_text(
        json.dumps(dict(architecture='test_resnet', **filled(ASKED['url'], poison[0])))
    )
    work.append(dict(folder=str(own), arch='test_resnet'))
    for name, data in seeds().items():
        (own / f'{name}.pkl').write_bytes(data)
        work.append(dict(pickle=str(own / f'{name}.pkl')))
    (tmp_path / 'work.json').write_text(json.dumps(work))
    words = [sys.executable, '-W', 'ignore', '-c', WATCHED, own, poison[0], tmp_path / 'work.json']
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=own)
    assert done.returncode == 0, done.stderr[-2000:]
    answers, events = json.loads(done.stdout.splitlines()[-1])
    assert [e for e in events if e != str(tmp_path / 'work.json')] == []
    assert answers[-4:] == ['built'] * 4 and 'built' not in answers[:-4]
    assert not poison[1].exists()


# Sizes and kinds


NAN = float('nan')
DEEP = 'Identity'
for _ in range(900):
    DEEP = ['Sequential', DEEP]


def conv(**facts):
    whole = dict(in_channels=3, out_channels=4, kernel_size=3, stride=1, padding=0, dilation=1)
    return ['Conv2d', whole | dict(groups=1, bias=True) | facts]


def nearest(**facts):
    return ['NearestHead', dict(points=4, width=192, classes=4, k=2) | facts]


LAYERS = dict(
    eight_gigabytes=['Linear', dict(in_features=192, out_features=10_000_000, bias=True)],
    large=['Linear', dict(in_features=2**62, out_features=4, bias=True)],
    negative=['Linear', dict(in_features=-1, out_features=4, bias=True)],
    zero=['Linear', dict(in_features=0, out_features=4, bias=True)],
    words=['Linear', dict(in_features='192', out_features=4, bias=True)],
    truth=['Linear', dict(in_features=True, out_features=4, bias=True)],
    fraction=['Linear', dict(in_features=192.0, out_features=4, bias=True)],
    nan=['Linear', dict(in_features=NAN, out_features=4, bias=True)],
    missing=['Linear', dict(out_features=4)],
    more=['Linear', dict(in_features=192, out_features=4, bias=True, device='cuda')],
    three=['Linear', dict(in_features=192, out_features=4, bias=True), 1],
    no_table=['Linear', [192, 4]],
    no_word=[dict(a=1), dict()],
    number=[3, dict()],
    nothing=[],
    none=None,
    text='Linear',
    list_of_none=['Sequential', None],
    stride_0=conv(stride=0),
    kernel_0=conv(kernel_size=[0, 0]),
    kernel_3=conv(kernel_size=[3, 3, 3]),
    kernel_huge=conv(kernel_size=2**31),
    dilation_0=conv(dilation=0),
    groups_0=conv(groups=0),
    groups_2=conv(groups=2),
    padding_word=conv(padding='os.system'),
    padding_huge=conv(padding=2**40),
    pool_0=['MaxPool2d', dict(kernel_size=2, stride=0, padding=0)],
    pool_wide=['MaxPool2d', dict(kernel_size=2, stride=2, padding=200)],
    average_huge=['AdaptiveAvgPool2d', dict(output_size=2**31)],
    dropout=['Dropout', dict(p=7)],
    dropout_nan=['Dropout', dict(p=NAN)],
    softmax=['Softmax', dict(dim=2**40)],
    softmax_list=['Softmax', dict(dim=[1])],
    eps=['BatchNorm1d', dict(num_features=192, eps='x')],
    norm=['LayerNorm', dict(normalized_shape=[2**40, 2**40], eps=1e-5)],
    points=nearest(points=2**40),
    points_many=nearest(points=16_000_000),
    k_0=nearest(k=0),
    k_5=nearest(k=5),
    k_word=nearest(k='2'),
    k_true=nearest(k=True),
    deep=DEEP,
    wide=['Sequential', *['Identity'] * 5000],
)


@pytest.fixture
def little_memory():
    "At most a gigabyte more than now."
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 1_000_000_000, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.parametrize('head', LAYERS)
def test_heads_that_cannot_be(weights, little_memory, head):
    body, top = weights['timm']
    pool = ['Sequential', ['ConcatPool', {}], ['Flatten', {}], LAYERS[head]]
    for layers in (LAYERS[head], pool):
        with pytest.raises(ModelError) as e:
            build_network(TIMM | dict(head=layers), body, top)
        assert str(e.value).endswith('.') and len(str(e.value)) < 600


@pytest.mark.parametrize(
    'change',
    [
        dict(classes=2**40),
        dict(classes=0),
        dict(classes='4'),
        dict(classes=True),
        dict(classes=NAN),
        dict(classes=100_000),
        dict(channels=2**40),
        dict(channels=0),
        dict(channels=3.0),
        dict(channels=None),
        dict(size=0),
        dict(size=2**62),
        dict(size='32'),
        dict(size=None),
        dict(arch='alexnet'),
        dict(arch='test_resnet'),
        dict(arch=['small-cnn']),
        dict(arch=None),
        dict(arch=DEEP),
        dict(kind='timm'),
        dict(kind=None),
        dict(kind=DEEP),
        dict(kind={}),
        dict(views=9),
        dict(views=-1),
        dict(views=True),
        dict(members=2),
        dict(members=10**9),
        dict(members='2'),
        dict(model_args=[{}, {}]),
        dict(model_args=DEEP),
    ],
    ids=str,
)
def test_own_networks_that_cannot_be(weights, little_memory, change):
    change = {k: v for k, v in change.items()}
    with pytest.raises(ModelError):
        build_network(SMALL | change, *weights['own'])


@pytest.mark.parametrize('key', TIMM)
def test_missing_keys(weights, key):
    for described in (SMALL, TIMM, STAGES):
        less = {k: v for k, v in described.items() if k != key}
        try:
            build_network(less, *weights[described['kind']])
        except ModelError:
            continue
        assert key == 'model_args' or key not in described or described['kind'] != 'timm'


@pytest.mark.parametrize('described', [None, [], 'x', 3, DEEP, {}], ids=lambda d: str(d)[:20])
def test_no_description(described):
    with pytest.raises(ModelError):
        build_network(described, {}, {})
    if described is not None:
        with pytest.raises(ModelError):
            build_layers(described)


ARGUMENTS = [
    dict(arch='vit_tiny_patch16_224', model_args=dict(depth=10_000)),
    dict(arch='vit_tiny_patch16_224', model_args=dict(img_size=[16_000, 16_000], patch_size=1)),
    dict(arch='vit_tiny_patch16_224', model_args=dict(embed_dim=16_000, num_heads=1)),
    dict(arch='vit_tiny_patch16_224', model_args=dict(patch_size=0)),
    dict(arch='vit_tiny_patch16_224', model_args=dict(num_heads=0)),
    dict(arch='swin_tiny_patch4_window7_224', model_args=dict(window_size=4000, img_size=16_000)),
    dict(arch='test_resnet', model_args=dict(layers=[400, 400])),
    dict(arch='test_resnet', model_args=dict(channels=[0, 0, 0, 0])),
    dict(arch='test_resnet', model_args=dict(output_stride=-3)),
    dict(arch='test_resnet', model_args=dict(drop_rate='much')),
    dict(arch='test_resnet', model_args=dict(features_only=True)),
    dict(arch='test_resnet', model_args=dict(features_only=True, out_indices=[99])),
    dict(arch='test_resnet', model_args=dict(act_layer='system')),
    dict(arch='vit_giant_patch14_clip_224', model_args={}),
    dict(arch='eva02_enormous_patch14_clip_224', model_args={}),
]


@pytest.mark.parametrize('change', ARGUMENTS, ids=lambda c: str(c)[9:60])
@pytest.mark.parametrize('described', [TIMM, STAGES], ids=['timm', 'stages'])
def test_arguments_of_timm_that_cannot_be(weights, little_memory, described, change):
    with pytest.raises(ModelError):
        build_network(described | change, *weights[described['kind']])


def test_description_and_weights_are_compared_first(weights, monkeypatch):
    "Before a network is built in memory, its sizes are those of the weights that are there."
    body, head = weights['timm']
    devices = []
    real = timm.create_model

    def create(*args, **kwargs):
        devices.append(torch.get_default_device().type)
        return real(*args, **kwargs)

    monkeypatch.setattr(timm, 'create_model', create)
    for weights_now in (
        {},
        {k: v[:1] for k, v in body.items() if v.ndim},
        body | dict(x=head['2.bias']),
    ):
        with pytest.raises(ModelError, match='other weights belong to it'):
            build_network(TIMM, weights_now, head)
    assert set(devices) == {'meta'}
    build_network(TIMM, body, head)
    assert devices[-2:] == ['meta', 'cpu']


def test_every_layer_that_is_described_is_built():
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(3, 4, (3, 1), stride=2, padding=(1, 0), dilation=1, groups=1, bias=False),
        nn.Conv2d(4, 4, 3, padding='same'),
        nn.BatchNorm2d(4, eps=0.001),
        nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d((2, None)),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(16),
        nn.Linear(16, 4),
        nn.GELU(),
        nn.SiLU(),
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=-1),
    ).eval()
    described, _, _ = describe_network(nn.Sequential(nn.Sequential(), net), 'test_resnet')
    again = build_layers(json.loads(json.dumps(described['head'])))
    again.load_state_dict(net.state_dict())
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(again.eval()(x), net(x))
