"""What a stranger may put into a bundle: refused in a sentence before anything of it is run, read
or waited for.
"""

import hashlib
import json
import os
import re
import socket
import threading
import zipfile
from getpass import getuser
from pathlib import Path

import numpy as np
import onnx
import pytest
from fuzz_bundle import STORED, TINY, folder_of, fuzz, mend, picture

from leukocls.core.errors import LeukoError, ModelError
from leukocls.deploy.bundle import Bundle, inside_bundle, verify
from leukocls.deploy.classifier import Classifier
from leukocls.models.engines import (
    Engine,
    OnnxEngine,
    OpenVinoEngine,
    machine_key,
    open_kept,
    pick_engine,
    silent_openvino,
    softmax,
    sum_of,
)
from leukocls.models.onnxfile import check_onnx
from leukocls.web.application import describe, predict_work
from leukocls.web.upload import Limits

pytestmark = pytest.mark.once
ENGINES = dict(onnxruntime=OnnxEngine, openvino=OpenVinoEngine)


@pytest.fixture
def tiny(tmp_path):
    "A bundle of 70 kB with a gate and examples."
    with zipfile.ZipFile(TINY) as z:
        z.extractall(tmp_path / 'tiny')
    return folder_of(tmp_path / 'tiny')


@pytest.fixture
def stored(tmp_path):
    "A bundle that commit 03ac3c4 wrote."
    with zipfile.ZipFile(STORED) as z:
        z.extractall(tmp_path / 'stored')
    return folder_of(tmp_path / 'stored')


def within(seconds, function):
    "What a function gives or raises; an assertion if it takes longer."
    out = []

    def run():
        try:
            out.append(function())
        except Exception as e:
            out.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), 'it hangs'
    return out[0]


def refused(folder, match, seconds=20):
    error = within(seconds, lambda: Bundle(folder))
    assert isinstance(error, ModelError) and re.search(match, str(error)), error


def with_network(folder, change):
    "A bundle whose network was changed, with checksums that are right."
    path = folder / 'model.onnx'
    model = onnx.ModelProto.FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())
    mend(folder)
    return path.read_bytes()


def with_config(folder, change):
    config = json.loads((folder / 'config.json').read_text())
    text = change(config)
    (folder / 'config.json').write_text(text or json.dumps(config))
    mend(folder)
    return folder


# --- A network of every kind of malice ------------------------------------------------------------


def external(location, where='initializer'):
    def change(model):
        tensor = model.graph.initializer[0]
        if where == 'attribute':
            node = model.graph.node.add(op_type='Constant', output=['c'])
            tensor = node.attribute.add(name='value', type=onnx.AttributeProto.TENSOR).t
            tensor.dims.append(4)
            tensor.data_type = 1
        tensor.ClearField('raw_data')
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in dict(location=location, offset='0', length='16').items():
            tensor.external_data.add(key=key, value=value)

    return change


def subgraph(kind):
    def change(model):
        body = onnx.helper.make_graph([], 'body', [], [])
        node = model.graph.node.add(op_type=kind, input=['pictures'], output=['z'])
        node.attribute.append(onnx.helper.make_attribute('body', body))

    return change


def own_function(model):
    function = model.functions.add(name='Relu', domain='me')
    function.opset_import.add(domain='', version=20)


def own_domain(model):
    model.graph.node[3].domain = 'com.microsoft'


def learned_later(model):
    model.training_info.add().initialization.CopyFrom(model.graph)


def sparse(model):
    model.graph.sparse_initializer.add().values.CopyFrom(model.graph.initializer[0])


def bomb(kind):
    "An operator of a few bytes that gives 10¹² numbers."

    def change(model):
        graph = model.graph
        name = graph.node[-1].input[0]
        huge = np.array([10**6, 10**6], 'int64')
        new = dict(
            Expand=(['b0'], [('b0', huge)]),
            ConstantOfShape=([], [('b0', huge)]),
            Tile=(['b0'], [('b0', huge)]),
            Pad=(['b0'], [('b0', np.array([0, 0, 10**6, 10**6], 'int64'))]),
            Range=([], [('b0', np.array(0)), ('b1', np.array(10**12)), ('b2', np.array(1))]),
            Resize=(['', '', 'b0'], [('b0', huge)]),
        )[kind]
        given, weights = new
        for label, value in weights:
            graph.initializer.append(onnx.numpy_helper.from_array(value, label))
        inputs = [name, *given] if given else [label for label, _ in weights]
        graph.node.append(onnx.helper.make_node(kind, inputs, ['boom']))

    return change


def swollen(model):
    model.graph.initializer[0].dims[0] = 10**6


def other_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4000


def other_type(model):
    model.graph.input[0].type.tensor_type.elem_type = 1


def second_input(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info('more', 1, [1]))


def other_output(model):
    model.graph.output[0].name = model.graph.output[1].name = 'x'


MALICE = {
    'an address in memory': (external('*/_ORT_MEM_ADDR_/*'), 'Tensor has field 13'),
    'a file of the working folder': (external('secret.bin'), 'Tensor has field 13'),
    'a file of the system': (external('/etc/passwd'), 'Tensor has field 13'),
    'in an attribute': (external('*/_ORT_MEM_ADDR_/*', 'attribute'), 'Tensor has field 13'),
    'a loop': (subgraph('Loop'), 'Attribute has field 6'),
    'a branch': (subgraph('If'), 'Attribute has field 6'),
    'a scan': (subgraph('Scan'), 'Attribute has field 6'),
    'a function': (own_function, 'Model has field 25'),
    'an operator of another domain': (own_domain, 'com.microsoft'),
    'training': (learned_later, 'Model has field 20'),
    'sparse weights': (sparse, 'Graph has field 15'),
    **{f'a bomb of {k}': (bomb(k), k) for k in 'Expand ConstantOfShape Tile Pad Resize'.split()},
    'a bomb of Range': (bomb('Range'), 'numbers at a time'),
    'sizes without bytes': (swollen, 'weights of sizes'),
    'larger pictures': (other_input, 'pictures of'),
    'pictures of another type': (other_type, 'not `pictures` as uint8'),
    'a second input': (second_input, 'it takes|it has'),
    'outputs of one name': (other_output, 'outputs'),
}


@pytest.mark.parametrize('what', MALICE)
def test_no_engine_sees_a_hostile_network(tiny, tmp_path, monkeypatch, what):
    "Neither the bundle opens, nor does an engine take the bytes, nor the file."
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'secret.bin').write_bytes(bytes(1000))
    change, match = MALICE[what]
    data = with_network(tiny, change)
    refused(tiny, match)
    for engine in ENGINES.values():
        for given in (data, tiny / 'model.onnx', str(tiny / 'model.onnx')):
            with pytest.raises(ModelError, match=match):
                engine(given)


def test_a_weight_used_a_million_times_is_too_much_work(tiny):
    "Work is bounded too: a product of 4,096 × 4,096, three hundred thousand times, would take days."

    def change(model):
        square = onnx.numpy_helper.from_array(np.zeros((4096, 4096), 'float32'), 'w')
        model.graph.initializer.append(square)
        node = onnx.helper.make_node
        before = 'w'
        for i in range(40):
            model.graph.node.append(node('MatMul', [before, 'w'], [f'm{i}']))
            before = f'm{i}'

    with_network(tiny, change)
    refused(tiny, 'multiplications|numbers at a time')


def test_position_beside_a_value_is_refused(tiny):
    "An engine that looks beside a value reads other memory of the process."

    def change(model):
        far = onnx.numpy_helper.from_array(np.array([10**9]), 'far')
        model.graph.initializer.append(far)
        last = model.graph.node[-1].input[0]
        model.graph.node.append(onnx.helper.make_node('Gather', [last, 'far'], ['g'], axis=1))

    with_network(tiny, change)
    refused(tiny, 'positions outside')


def test_fields_given_twice_are_refused(tiny):
    "Readers differ in which of two they believe."
    path = tiny / 'model.onnx'
    data = path.read_bytes()
    graph = onnx.ModelProto.FromString(data).graph.SerializeToString()
    length, more = len(graph), b''
    while length > 127:
        more += bytes([length & 127 | 128])
        length >>= 7
    path.write_bytes(data + b'\x3a' + more + bytes([length]) + graph)
    mend(tiny)
    refused(tiny, 'two of `graph`')


def test_own_networks_pass(tiny, stored):
    for folder in (tiny, stored):
        facts = check_onnx((folder / 'model.onnx').read_bytes())
        c = json.loads((folder / 'config.json').read_text())
        assert (facts.size, facts.widths) == (c['pixels']['size'], [2, c['features']])


# --- B The cache ------------------------------------------------------------------------------------


class Mean(Engine):
    name = 'mean'

    def start(self, x):
        return x.mean((1, 2)).astype('float32') / 100


class Wrong(Mean):
    name = 'wrong'

    def start(self, x):
        return super().start(255 - x)


@pytest.mark.skipif(os.name == 'nt', reason='Windows has other rights')
@pytest.mark.parametrize('what, mode', [('folder', 0o777), ('folder', 0o775), ('file', 0o666)])
def test_a_choice_that_others_may_have_written_is_compared_again(tmp_path, monkeypatch, what, mode):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    folder, key = tmp_path / 'engines', machine_key('x')
    folder.mkdir(0o755)
    file = folder / f'{key}.json'
    file.write_text('{"engine": "wrong"}')
    file.chmod(0o644)
    x = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype='uint8')
    builders = {'mean': Mean, 'wrong': Wrong}
    assert pick_engine(builders, x, key).name == 'wrong'  # our own choice is believed
    file.write_text('{"engine": "wrong"}')
    (folder if what == 'folder' else file).chmod(mode)
    assert pick_engine(builders, x, key).name == 'mean'


@pytest.mark.skipif(os.name == 'nt', reason='Windows has other rights')
@pytest.mark.parametrize(
    'end, mode', [('.xml', 0o666), ('.bin', 0o664), ('.sum', 0o646), ('', 0o777)]
)
def test_a_kept_network_that_others_may_have_written_is_not_used(tmp_path, end, mode):
    ov = silent_openvino()
    ops = ov.opset8
    x = ops.parameter([-1, 4, 4, 3], np.uint8)
    mean = ops.reduce_mean(ops.convert(x, 'f32'), ops.constant([1, 2], np.int64))
    home = tmp_path / 'engines'
    home.mkdir(0o700)
    xml = home / 'm.xml'
    ov.save_model(ov.Model([mean], [x]), xml)
    xml.with_suffix('.sum').write_text(sum_of(xml))
    for path in home.iterdir():
        path.chmod(0o644)
    open_kept(xml)
    (xml.with_suffix(end) if end else home).chmod(mode)
    with pytest.raises(ModelError, match='another user|No such file'):
        open_kept(xml)


@pytest.mark.skipif(os.name == 'nt', reason='Windows has other rights')
@pytest.mark.parametrize('mode, folder', [(0o666, 0o755), (0o644, 0o777), (0o664, 0o755)])
def test_a_kept_onnx_file_that_others_may_have_written(tiny, tmp_path, monkeypatch, mode, folder):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    home = tmp_path / 'cache/engines'
    home.mkdir(parents=True)
    home.chmod(0o755)
    path = home / 'x.onnx'
    path.write_bytes((tiny / 'model.onnx').read_bytes())
    path.chmod(0o644)
    OnnxEngine(path)
    path.chmod(mode)
    home.chmod(folder)
    for engine in ENGINES.values():
        with pytest.raises(ModelError, match='another user|No such file'):
            engine(path)


# --- C, H Answers that are no number ----------------------------------------------------------------


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_answers_that_are_no_number_are_an_error_in_words(tiny, value, engine):
    "Never a label, never an answer that JSON cannot hold."

    def change(model):
        last = next(t for t in model.graph.initializer if list(t.dims) == [2])
        last.raw_data = np.full(2, value, 'float32').tobytes()

    with_network(tiny, change)
    try:
        clf = Classifier.load(tiny, engine)
        about = describe(clf, 'x')
    except LeukoError as e:
        assert 'no number' in str(e)
        return
    said = predict_work(clf, [('images', 'a.png', picture())], Limits())(lambda: True)
    assert said[0]['error'] and not said[0]['probabilities']
    json.dumps([said, about], allow_nan=False)
    with pytest.raises(ModelError, match='no numbers'):
        Classifier.load(tiny, 'auto')


CONFIGS = {
    'NaN': (lambda c: json.dumps(c).replace('"n": 16', '"n": NaN', 1), 'NaN is no finite'),
    'Infinity': (lambda c: json.dumps(c).replace('"n": 16', '"n": -Infinity', 1), 'no finite'),
    '1e999': (lambda c: json.dumps(c).replace('"n": 16', '"n": 1e999', 1), 'no finite'),
    'a field twice': (lambda c: json.dumps(c).replace('{', '{"name": "y", ', 1), 'twice'),
    'deep': (lambda c: json.dumps(c | dict(x=1)).replace('"x": 1', '"x": ' + '[' * 99 + ']' * 99), 'inside'),
    'deeper': (lambda c: '{"x": ' * 50_000 + '1' + '}' * 50_000, 'inside'),
    'half a letter': (lambda c: json.dumps(c | dict(title='\ud800')), 'surrogates'),
    'many digits': (lambda c: json.dumps(c).replace('"n": 16', '"n": ' + '9' * 5000, 1), 'too large'),
    'a figure in words': (lambda c: c['metrics'].update(accuracy='good'), 'metrics.accuracy'),
    'a figure that is missing': (lambda c: c['metrics']['accuracy'].pop('low'), 'metrics.accuracy'),
    'images in words': (lambda c: c['data']['sides'].update(train='many'), 'data.sides.train'),
    'patients in words': (lambda c: c['data'].update(patients='x'), 'data.patients'),
    'a median of 63': (lambda c: c['pixels'].update(median=63), 'pixels.median'),
    'an even median': (lambda c: c['pixels'].update(median=4), 'pixels.median'),
    'a size with a point': (lambda c: c['pixels'].update(size=16.0), 'pixels.size'),
    'a scatter of 0': (lambda c: c['pixels'].update(std=[0.2, 0, 0.2]), 'pixels.std'),
    'two means': (lambda c: c['pixels'].update(mean=[0.5, 0.5]), 'pixels.mean'),
    'a mean in words': (lambda c: c['pixels'].update(mean='x'), 'pixels.mean'),
    'a network of no kind': (lambda c: c.update(network=dict(kind='os', arch='x')), 'network.kind'),
    'a network with more': (
        lambda c: c.update(network=dict(kind='own', arch='x', run='y')),
        'network',
    ),
    'nine views': (
        lambda c: c.update(network=dict(kind='own', arch='x', views=9)),
        'network.views',
    ),
    'a class that rings': (lambda c: c.update(classes=['a\x07', 'b'], calibration=None), 'classes'),
    'a class on two lines': (lambda c: c.update(classes=['a\nb', 'b'], calibration=None), 'classes'),
    'a class written backwards': (lambda c: c.update(classes=['\u202ea', 'b'], calibration=None), 'classes'),
    'other classes in a line': (lambda c: c.update(classes=['a', 'b']), 'thresholds'),
    'features of another length': (lambda c: c.update(features=7), 'examples|belong together'),
    'larger pictures': (lambda c: c['pixels'].update(size=32), 'belong together'),
    'grey pictures': (lambda c: c['pixels'].update(grey=True, mean=None, std=None), 'belong together'),
}  # fmt: skip


@pytest.mark.parametrize('what', CONFIGS)
def test_configuration(tiny, what):
    change, match = CONFIGS[what]

    def changed(c):
        text = change(c)
        return text if isinstance(text, str) else None

    refused(with_config(tiny, changed), match)


def test_class_names_are_text_on_the_page(tiny):
    names = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>']

    def change(c):
        text = json.dumps(c)
        for old, new in zip(c['classes'], names):
            text = text.replace(json.dumps(old), json.dumps(new))
        return text

    clf = Classifier.load(with_config(tiny, change), 'onnxruntime')
    testclient = pytest.importorskip('starlette.testclient')
    from leukocls.web.application import make_app
    from leukocls.web.server import results_html

    app = make_app([clf])
    page = testclient.TestClient(app, base_url='http://localhost', raise_server_exceptions=False)
    r = page.post('/api/predict', files=[('images', ('a.png', picture()))])
    assert r.status_code == 200 and r.headers['content-type'] == 'application/json'
    assert set(r.json()['results'][0]['probabilities']) == set(names)
    assert page.get('/api/models').status_code == 200
    assert '<script>' not in results_html(clf, [('a.png', picture())]) + clf.bundle._repr_html_()
    app.desk.worker.close()


def test_the_page_answers_for_a_model_that_gives_no_numbers(tiny):
    def change(model):
        last = next(t for t in model.graph.initializer if list(t.dims) == [2])
        last.raw_data = np.full(2, np.nan, 'float32').tobytes()

    with_network(tiny, change)
    testclient = pytest.importorskip('starlette.testclient')
    from leukocls.web.application import make_app

    app = make_app([Classifier.load(tiny, 'onnxruntime')])
    page = testclient.TestClient(app, base_url='http://localhost', raise_server_exceptions=False)
    file = [('images', ('a.png', picture()))]
    r = page.post('/api/predict', files=file)
    assert r.status_code == 200 and r.json()['results'][0]['error']
    for way in ('heat', 'nearest'):
        assert page.post(f'/api/{way}', files=file).status_code in (200, 422)
    app.desk.worker.close()


# --- D The gate, the examples, and bundles of before ------------------------------------------------

GATES = {
    'no table': dict(whiten=[[1.0, 2.0]]),
    'text': dict(middle=['x'] * 69),
    'no list': dict(held=3),
    'no numbers': dict(centres=[]),
    'another length': dict(scale=[1.0] * 68),
    'a scatter of 0': dict(scale=[0.0] * 69),
    'a share of 2': dict(alpha=2),
    'a share in words': dict(alpha='0.01'),
}


@pytest.mark.parametrize('what', GATES)
def test_gate(tiny, what):
    path = tiny / 'gate.json'
    gate = json.loads(path.read_text())
    gate['gate'].update(GATES[what])
    path.write_text(json.dumps(gate))
    mend(tiny)
    refused(tiny, 'gate.json')


@pytest.mark.parametrize(
    'change',
    [
        dict(labels=np.array([5, 0, 1], 'int32')),
        dict(ends=np.array([10, 5, 20], 'int64')),
        dict(features=np.zeros((3, 9), 'float16')),
        dict(pictures=np.zeros(4, 'uint8')),
        dict(features=np.full((3, 8), np.nan, 'float16')),
    ],
)
def test_examples(tiny, change):
    from safetensors.numpy import load, save

    path = tiny / 'examples.safetensors'
    good = load(path.read_bytes())
    assert len(good['labels']) == 3, good['labels']
    path.write_bytes(save(good | change))
    mend(tiny)
    refused(tiny, 'examples.safetensors')


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino', 'torch'])
def test_a_bundle_of_the_first_version_opens_and_says_the_same(stored, engine):
    "Written by commit 03ac3c4, with the probabilities that it gave then."
    then = np.load(STORED.with_suffix('.npz'))
    clf = Classifier.load(stored, engine)
    now = np.concatenate([clf.engine(x[None]) for x in then['pictures']])
    assert np.abs(softmax(now[:, :2]) - then['probabilities']).max() < 1e-4
    if engine != 'torch':
        assert np.abs(now[:, 2:] - then['features']).max() < 1e-3
        assert clf.gate is not None and len(clf.nearest(picture(), 2)) == 2


# --- E Files that are none --------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
@pytest.mark.parametrize(
    'name', 'SHA256SUMS config.json gate.json model_card.md model.onnx model.safetensors'.split()
)
@pytest.mark.parametrize('kind', ['pipe', '/dev/zero', 'folder', 'socket', 'sparse', 'circle'])
def test_what_is_no_file_is_not_waited_for(tiny, name, kind):
    path = tiny / name
    path.unlink()
    server = None
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'socket':
        server = socket.socket(socket.AF_UNIX)
        here = os.open(tiny, os.O_RDONLY)
        server.bind(f'/proc/self/fd/{here}/{name}')
        os.close(here)
    elif kind == 'sparse':
        with open(path, 'wb') as f:
            f.truncate(1 << 40)
    else:
        path.symlink_to(name if kind == 'circle' else kind)
    refused(tiny, f'{name} cannot be read')
    if server:
        server.close()


def test_links_to_files_are_followed(tiny, tmp_path):
    "The hub's cache keeps contents under their hashes, and links to them."
    (tmp_path / 'blobs').mkdir()
    for path in list(tiny.iterdir()):
        blob = tmp_path / 'blobs' / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, tiny))
    assert Classifier.load(tiny, 'onnxruntime')(picture()).probabilities


def test_weights_are_those_that_were_checked(stored):
    "Somebody changes the weights and their checksum after the bundle was opened."
    bundle = Bundle(stored)
    path = stored / 'model.safetensors'
    data = bytearray(path.read_bytes())
    data[-4:] = b'\x00\x00\xc0\x7f'
    path.write_bytes(data)
    mend(stored)
    with pytest.raises(ModelError, match='not what it was'):
        bundle.network()
    with pytest.raises(ModelError, match='not what it was|another bundle'):
        bundle.verify()


@pytest.mark.parametrize('n', [1, 3, 20_000])
def test_foreign_files_are_named_and_counted(tiny, n):
    for i in range(n):
        (tiny / f'x{i:05}').touch()
    with pytest.raises(ModelError) as e:
        verify(tiny)
    said = str(e.value).removeprefix(str(tiny))
    assert 'x00000' in said and len(said) < 300 and 'Remove' in said and 'Fetch' not in said
    assert n < 10 or f'{n - 5:,} more' in said


# --- F Looked at, and still a bundle ----------------------------------------------------------------

LEFT = (
    '.DS_Store ._config.json ._model.onnx Thumbs.db desktop.ini Desktop.ini ehthumbs.db .directory'
    ' @eaDir/ .ipynb_checkpoints/ .gitattributes .gitignore .git/ .cache/ .huggingface/ README.md'
    ' __MACOSX/ .Spotlight-V100/ .Trashes/ .nfs0000 .~lock.model_card.md# lost+found/'
).split()


@pytest.mark.parametrize('name', LEFT)
def test_what_programs_leave_does_no_harm(tiny, name):
    path = tiny / name.rstrip('/')
    path.mkdir() if name.endswith('/') else path.write_bytes(b'x')
    assert Bundle(tiny).verify()


@pytest.mark.parametrize('name', ['result.csv', 'deep/er/result.csv', '../tiny/result.csv'])
def test_a_table_is_not_to_lie_in_a_bundle(tiny, monkeypatch, name):
    monkeypatch.chdir(tiny)
    home = Path(os.path.realpath(tiny))
    assert inside_bundle(name) == home
    (tiny.parent / 'link').symlink_to(tiny)
    assert inside_bundle(tiny.parent / 'link/result.csv') == home
    assert inside_bundle(tiny.parent / 'result.csv') is None


# --- G Where it was made ----------------------------------------------------------------------------


def test_a_bundle_does_not_say_where_it_was_made(small_bundle, run, films):
    "Nor does the text inside its ONNX file and its weights."
    here = {socket.gethostname(), str(Path.home()), str(films), str(run.folder), os.getcwd()}
    here |= {str(Path(np.__file__).parent.parent), str(Path(__file__).parent.parent)}
    here |= {f'/{getuser()}/', 'site-packages', 'stack_trace', 'File "'}
    for path in small_bundle.iterdir():
        data = path.read_bytes()
        for secret in here:
            assert len(secret) < 4 or secret.encode() not in data, (path.name, secret)
    model = onnx.ModelProto.FromString((small_bundle / 'model.onnx').read_bytes())
    parts = [model, model.graph, *model.graph.node, *model.graph.initializer]
    parts += [*model.graph.input, *model.graph.output]
    assert not any(p.metadata_props or p.doc_string for p in parts)


# --- All of it, mutated -----------------------------------------------------------------------------


def test_hundred_mutated_bundles():
    counts, found = fuzz(range(100))
    assert not found, json.dumps(found, indent=1)[:5000]
    assert counts['refused'] > 40 and counts['answered'] > 10, counts


@pytest.mark.slow
def test_thousands_of_mutated_bundles():
    n = int(os.environ.get('LEUKOCLS_FUZZ', 2000))
    counts, found = fuzz(range(100, 100 + n), with_torch=True)
    assert not found, json.dumps(found, indent=1)[:5000]
    assert sum(counts.values()) == n
