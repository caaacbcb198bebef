"A pickle is read without running it: what strangers may put into one, and what becomes of it."

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from fuzz_pickle import fuzz, pack, seeds, unpack

from leukocls.core.errors import ModelError
from leukocls.deploy.conversion import convert_pickle, read_learner, read_pickle


@pytest.fixture(scope='module')
def exports():
    return seeds()


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / 'x.pkl').write_bytes(data)
        return tmp_path / 'x.pkl'

    return write


def packed(stream, *records):
    return pack([('archive/data.pkl', stream), *[(f'archive/{n}', b) for n, b in records]])


def text(s):
    return b'X' + struct.pack('<I', len(s)) + s.encode()


def scripted():
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), whole)
    return whole.getvalue()


def test_seeds_tell_nothing_of_a_machine(exports):
    for data in exports.values():
        assert not [w for w in (b'/tmp', b'/home', b'site-packages', b'films') if w in data]


# TorchScript


@pytest.mark.parametrize(
    'records',
    [
        lambda learner: unpack(scripted()),
        lambda learner: [*learner, ('.learner/constants.pkl', b'\x80\x02)' + b'.')],
        lambda learner: [*learner, ('.learner/code/__torch__.py', b'')],
        lambda learner: [*learner, ('.learner/constants.pkl', b''), ('.learner/version', b'3')],
    ],
    ids=['scripted', 'constants', 'code', 'constants twice'],
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_torchscript_is_never_loaded(exports, write, tmp_path, monkeypatch, records):
    given = []
    for place, name in ((torch, 'load'), (torch.jit, 'load')):
        monkeypatch.setattr(place, name, lambda *a, **k: given.append(a))
    path = write(pack(records(unpack(exports['small']))))
    with pytest.raises(ModelError):
        convert_pickle(path, tmp_path / 'b')
    assert not given and not (tmp_path / 'b').exists()


def test_no_loader_of_torch_is_asked(exports, write, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('an untrusted file was given to PyTorch')

    for place, name in ((torch, 'load'), (torch.jit, 'load')):
        monkeypatch.setattr(place, name, refuse)
    found = read_learner(write(exports['small']))
    assert found['described']['arch'] == 'small-cnn' and len(found['classes']) == 4


# PyTorch stays as it is


GLOBALS = (
    'torch._utils\n_rebuild_tensor_v2',
    'torch._utils\n_rebuild_parameter',
    'torch._tensor\n_rebuild_from_type_v2',
    'collections\nOrderedDict',
    'torch\nSize',
    'torch.nn.modules.linear\nLinear',
    'os\nsystem',
)
CHANGES = dict(
    defaults=b'N}' + text('__defaults__') + b')s\x86b',
    state=b'}' + text('x') + b'K\x01sb',
    item=text('x') + b'K\x01s',
    append=b'K\x01a',
)


def of_its_own(o):
    return dict(getattr(o, '__dict__', {})), getattr(o, '__defaults__', None)


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('name', GLOBALS)
def test_what_is_read_changes_nothing(write, name, change):
    module, attribute = name.split('\n')
    real = getattr(__import__(module, fromlist=['x']), attribute)
    before = of_its_own(real)
    path = write(packed(b'\x80\x02c' + name.encode() + b'\n' + CHANGES[change] + b'.'))
    try:
        with pytest.raises(ModelError, match='damaged at byte'):
            read_pickle(path)
        assert of_its_own(real) == before
    finally:
        if before[1] is not None:
            real.__defaults__ = before[1]


def test_stand_ins_are_filled_once_and_only_by_the_file(write):
    call = b'\x80\x02cos\nsystem\n)R'
    held, _ = read_pickle(write(packed(call + b'}' + text('a') + b'K\x01sb.')))
    assert held.state == {'a': 1}
    with pytest.raises(AttributeError):
        held.forward = 1
    twice = (b'}' + text('a') + b'K\x01sb') * 2
    with pytest.raises(ModelError, match='a state for StandIn'):
        read_pickle(write(packed(call + twice + b'.')))
    # a state that names attributes of Python's own is only kept
    held, _ = read_pickle(write(packed(call + b'N}' + text('__class__') + b'K\x01s\x86b.')))
    assert type(held).__name__ == 'StandIn'


# The zip


def header(data, at=0):
    "Where a field of the first record's header stands."
    return data.index(b'PK\x03\x04') + at


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


ZIPS = dict(
    twice=lambda r, d: pack([*r, r[0]]),
    two_folders=lambda r, d: pack([*r, ('other/data/0', b'')]),
    no_folder=lambda r, d: pack([(n.split('/', 1)[1], b) for n, b in r]),
    climbing=lambda r, d: pack([*r, ('.learner/data/../../x', b'')]),
    a_word=lambda r, d: pack([*r, ('.learner/data/x', b'')]),
    many_digits=lambda r, d: pack([*r, ('.learner/data/' + '1' * 30, b'')]),
    compressed=lambda r, d: pack(r, zipfile.ZIP_DEFLATED),
    big_endian=lambda r, d: pack([(n, b'big' if n.endswith('order') else b) for n, b in r]),
    before=lambda r, d: b'x' * 10 + d,
    behind=lambda r, d: d + b'x' * 10,
    comment=lambda r, d: changed(d + b'x' * 3, len(d) - 2, b'\x03\0'),
    locked=lambda r, d: changed(d, d.index(b'PK\x01\x02') + 8, b'\x09\x08'),
    other_name=lambda r, d: changed(d, header(d, 30), b'.lEarner'),
    other_method=lambda r, d: changed(d, header(d, 8), b'\x08\0'),
    longer_name=lambda r, d: changed(d, header(d, 26), b'\x40\0'),
    wrong_sum=lambda r, d: changed(d, len(d) // 2, bytes([d[len(d) // 2] ^ 1])),
    no_pickle=lambda r, d: pack([(n, b) for n, b in r if not n.endswith('.pkl')]),
    nothing=lambda r, d: pack([]),
)


@pytest.mark.parametrize('kind', ZIPS)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_another_zip_than_torch_writes(exports, write, kind):
    data = exports['small']
    with pytest.raises(ModelError):
        read_learner(write(ZIPS[kind](unpack(data), data)))


def test_records_within_each_other(write):
    "Two entries of the directory that name the same bytes."
    data = pack([('a/data.pkl', b'\x80\x02N.'), ('a/data/0', bytes(100)), ('a/data/1', bytes(100))])
    first, second = (data.index(b'a/data/%d' % i) - 30 for i in (0, 1))
    at = data.rindex(b'a/data/1') - 4  # the offset in the directory
    assert struct.unpack('<I', data[at : at + 4])[0] == second
    with pytest.raises(ModelError, match='packed as no file'):
        read_pickle(write(changed(data, at, struct.pack('<I', first))))


# Tensors


def storage(kind='FloatStorage', key='0', count=6):
    return (
        b'('
        + text('storage')
        + f'ctorch\n{kind}\n'.encode()
        + text(key)
        + text('cpu')
        + whole(count)
        + b'tQ'
    )


def whole(n):
    return b'\x8a' + bytes([16]) + n.to_bytes(16, 'little', signed=True)


def numbers(values):
    return b'(' + b''.join(map(whole, values)) + b't'


def tensor(offset, size, stride, **kind):
    tail = b'\x89ccollections\nOrderedDict\n)RtR'
    made = storage(**kind) + whole(offset) + numbers(size) + numbers(stride) + tail
    return b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(' + made + b'.'


SIX = np.arange(6, dtype='float32').tobytes()


def test_tensors_that_fit(write):
    for offset, size, stride in (
        (0, (6,), (1,)),
        (1, (2, 2), (3, 1)),
        (5, (), ()),
        (0, (0, 3), (3, 1)),
    ):
        held, _ = read_pickle(write(packed(tensor(offset, size, stride), ('data/0', SIX))))
        want = torch.arange(6.0).as_strided(size, stride, offset) if 0 not in size else None
        assert want is None and held.numel() == 0 or torch.equal(held, want)


@pytest.mark.parametrize(
    'offset, size, stride, kind',
    [
        (0, (7,), (1,), {}),
        (6, (1,), (1,), {}),
        (-1, (1,), (1,), {}),
        (0, (6,), (-1,), {}),
        (0, (1 << 40,), (0,), {}),
        (0, (2, 1 << 40), (1, 0), {}),
        (0, (1 << 62, 1 << 62), (1, 1), {}),
        (0, (1 << 100,), (1,), {}),
        (0, (2,), (1, 1), {}),
        (0, (1,) * 100, (1,) * 100, {}),
        (0, (3, 3), (1, 1), {}),
        (0, (6,), (1,), dict(count=7)),
        (0, (6,), (1,), dict(count=1 << 61)),
        (0, (6,), (1,), dict(kind='DoubleStorage')),
        (0, (6,), (1,), dict(kind='ComplexFloatStorage')),
        (0, (6,), (1,), dict(key='1')),
        (0, (6,), (1,), dict(key='../data.pkl')),
        (0, (6,), (1,), dict(key='٣')),
        (0, (24,), (1,), dict(kind='BoolStorage', count=24)),
    ],
)
def test_tensors_that_do_not_fit(write, offset, size, stride, kind):
    with pytest.raises(ModelError, match='damaged at byte'):
        read_pickle(write(packed(tensor(offset, size, stride, **kind), ('data/0', SIX))))


@pytest.mark.parametrize(
    'dtype', 'float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool'.split()
)
def test_every_kind_of_number(tmp_path, dtype):
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    held = dict(a=x, b=x.T, c=x[1:, ::2], d=torch.nn.Parameter(x.float()), e=x[0, 0], f=x[:0])
    torch.save(held, tmp_path / 'x.pt')
    again, _ = read_pickle(tmp_path / 'x.pt')
    assert all(torch.equal(again[k], v) and again[k].dtype == v.dtype for k, v in held.items())


# The stream


@pytest.mark.parametrize(
    'stream',
    [
        b'\x80\x02\x82\x01.',
        b'\x80\x02\x84\x01\0\0\0.',
        b'\x80\x02(S"x"\nios\nsystem\n.',
        b'\x80\x02(cos\nsystem\no.',
        b'\x80\x02Ptrue\n.',
        b'\x80\x05\x97.',
        b'\x80\x05\x98.',
        b'\x80\x02I1\n.',
        b'\x80\x02L' + b'9' * 100_000 + b'L\n.',
        b'\x80\x02\x8b\xff\xff\xff\x7f.',
        b'\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.',
        b'\x80\x02.',
        b'\x80\x02NN.',
        b'\x80\x02(N.',
        b'\x80\x02R.',
        b'\x80\x02h\x05.',
        b'\x80\x02NR.',
        b'\x80\x02K\x01K\x02R.',
        b'\x80\x02]]]\x86s.',
        b'\x80\x02}]K\x01s.',
        b'\x80\x02' + b')\x85' * 3 + b'}' + b'\x86' + b'.' + b'.',
        b'\x80\x02' + b'N' * 2_100_000 + b'.',
        b'',
    ],
)
def test_streams_that_torch_never_writes(write, stream):
    with pytest.raises(ModelError):
        read_pickle(write(packed(stream)))


DEEP = 200_000


@pytest.mark.parametrize(
    'stream',
    [
        b'\x80\x02' + b'N' + b'\x85' * DEEP + b'.',
        b'\x80\x02' + b']' * DEEP + b'a' * (DEEP - 1) + b'.',
        b'\x80\x02' + b'cos\nsystem\nq\x01' + b'0h\x01)R' + b'h\x01)Rb' * 1 + b'.',
        b'\x80\x02}' + b'N' + b'\x85' * DEEP + b'Ns.',
        b'\x80\x02]q\x01h\x01a.',
        b'\x80\x02}q\x01' + text('a') + b'h\x01s.',
        b'\x80\x02' + b'(' * DEEP + b'.',
        b'\x80\x02)' + b'q\x01h\x01\x86' * 100 + b'.',
    ],
    ids=['tuples', 'lists', 'state', 'key', 'in itself', 'table', 'marks', 'doubling'],
)
def test_depth_and_circles(write, stream):
    "Whatever is held in itself, or a hundred thousand deep, is read or refused, never followed."
    path = write(packed(stream))
    try:
        read_pickle(path)
    except ModelError:
        pass
    with pytest.raises(ModelError):
        read_learner(path)


def module(children=b''):
    return (
        b'ctorch.nn.modules.container\nSequential\n)\x81q\x07}'
        + text('_modules')
        + b'}'
        + children
        + b'sb'
    )


def test_networks_that_hold_themselves(write):
    from leukocls.deploy.conversion import _layers_of, _weights_of

    endless = module(text('0') + b'h\x07s')
    wide = b'\x80\x02' + module() + b'0'
    for _ in range(40):  # each holds the one before twice: 2 to the 40th
        both = text('0') + b'h\x07s' + text('1') + b'h\x07s'
        wide += b'ctorch.nn.modules.container\nSequential\n)\x81}' + text('_modules')
        wide += b'}' + both + b'sbq\x070'
    for stream in (b'\x80\x02' + endless + b'.', wide + b'h\x07.'):
        held, _ = read_pickle(write(packed(stream)))
        for look in (_layers_of, _weights_of):
            with pytest.raises(ModelError, match='holds itself'):
                look(held)


# Paths of another machine


@pytest.mark.parametrize(
    'name',
    ['pathlib PosixPath', 'pathlib WindowsPath', 'pathlib._local WindowsPath', 'pathlib Path'],
)
def test_paths_do_not_matter(exports, write, name):
    new = b'c' + name.replace(' ', '\n').encode() + b'\n'
    records = [
        (n, b.replace(b'cpathlib\nPosixPath\n', new) if n.endswith('data.pkl') else b)
        for n, b in unpack(exports['small'])
    ]
    assert any(new in b for _, b in records)
    found = read_learner(write(pack(records)))
    assert found['described']['kind'] == 'own' and name.replace(' ', '.') in found['named']


# A probe


def test_learner_of_a_probe_equals_its_run(exports, write, films, tmp_path):
    "Read unrun, it is what its learner, rebuilt as from a run folder, is described as."
    from leukocls.models.description import build_network, describe_network
    from leukocls.train.learners import probe_learner
    from leukocls.train.loaders import CellDataLoaders

    for name, head in dict(
        linear=dict(kind='linear', shape=[4, 800]), knn=dict(kind='knn', shape=[64, 800, 4, 15])
    ).items():
        found = read_learner(write(exports[name]))
        facts = dict(arch='test_resnet', model_args={}, mean=[0.5] * 3, std=[0.5] * 3, head=head)
        dls = CellDataLoaders.from_folder(films, size=32, bs=4, device='cpu', valid_pct=0.3)
        learn = probe_learner(dls, facts, 32)
        built = build_network(found['described'], found['body'], found['head'])
        learn.model.load_state_dict(built.state_dict())
        described, body, weights = describe_network(learn.model, 'test_resnet', {}, 32, 3)
        assert described == found['described']
        for mine, theirs in ((body, found['body']), (weights, found['head'])):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[k], theirs[k]) for k in mine)
        learn.export(tmp_path / 'again.pkl')
        again = read_learner(tmp_path / 'again.pkl')
        assert all(again[k] == found[k] for k in ('described', 'pixels', 'classes'))


def test_probe_that_pools_in_another_way(exports, write):
    records = [(n, b.replace(b'1e-06', b'2e-06')) for n, b in unpack(exports['linear'])]
    with pytest.raises(ModelError, match='leukocls export RUN'):
        read_learner(write(pack(records)))


def test_classical_system_names_the_run_folder(exports, write):
    records = [
        (n, b.replace(b'cfastai.vision.learner\nTimmBody\n', b'cleukocls.baselines\nSpectrum\n'))
        for n, b in unpack(exports['timm'])
    ]
    with pytest.raises(ModelError, match='Export the run folder: leukocls export RUN'):
        read_learner(write(pack(records)))


# By the thousand


@pytest.mark.slow
def test_damaged_by_the_thousand():
    counts, faults = fuzz(int(os.environ.get('LEUKOCLS_MUTATIONS', 200)))
    assert not faults, faults[:10]
    assert {'refused', 'the same learner', 'another learner'} <= {what for _, what in counts}
