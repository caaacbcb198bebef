"""Bundles by strangers: thousands of mutated ones, each opened and used in a process that must
neither end, nor hang, nor write, nor ask the network.

    python tests/fuzz_bundle.py 5000            # seeds 0 … 4999
    python tests/fuzz_bundle.py 1 --first 1234  # one of them again, with what it does
"""

import argparse
import faulthandler
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
TINY, STORED = HERE / 'seeds/bundle/tiny.zip', HERE / 'stored/bundle-0.1.0.zip'
SECONDS, MEMORY = 60, 4 << 30  # for a bundle; beyond what the packages take

NUMBERS = [0, 1, -1, 2, 3, 7, 127, 255, 2**31 - 1, 2**31, 2**32, -(2**31), 2**63 - 1, -(2**63)]
WORDS = ['', '/etc/passwd', '../../x', '*/_ORT_MEM_ADDR_/*', '\x00', '<script>alert(1)</script>']
OPERATORS = (
    'Add Mul Div Sub MatMul Gemm Conv MaxPool AveragePool Relu Reshape Expand Tile Pad Resize Range'
    ' ConstantOfShape Gather GatherND Slice Concat Split TopK Loop If Scan NonZero Softmax Einsum'
    ' Transpose Squeeze Cast BatchNormalization LayerNormalization LSTM Compress StringNormalizer'
).split()


# --- what a stranger may do to a bundle ----------------------------------------------------------


def mend(folder):
    "Checksums for what lies there now, as a stranger would write them."
    from leukocls.deploy.bundle import sums_of

    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    files.pop('SHA256SUMS', None)
    (folder / 'SHA256SUMS').write_text(sums_of(files))


def some_file(folder, rng):
    return folder / rng.choice(sorted(p.name for p in folder.iterdir()))


def flip_bytes(folder, rng):
    path = some_file(folder, rng)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 8, 100])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    return path.name


def cut_or_grow(folder, rng):
    path = some_file(folder, rng)
    data = path.read_bytes()
    at = rng.randrange(len(data))
    more = rng.randbytes(rng.choice([1, 100, 10_000]))
    path.write_bytes(rng.choice([data[:at], b'', data + data, data + more, data[at:], more]))
    return path.name


def another_kind(folder, rng):
    "No file in the place of a file."
    path = some_file(folder, rng)
    kinds = '/dev/zero /dev/urandom /dev/null /dev/full /proc/self/mem . nowhere'.split()
    kind = rng.choice([*kinds, 'pipe', 'folder', 'sparse', 'other', 'itself', 'same'])
    data = path.read_bytes()
    path.unlink()
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'sparse':
        with open(path, 'wb') as f:
            f.truncate(1 << 40)
    elif kind == 'same':  # as hubs keep files: a link to the content
        (folder.parent / 'blob').write_bytes(data)
        path.symlink_to(folder.parent / 'blob')
    elif kind in ('other', 'itself'):
        path.symlink_to(path.name if kind == 'itself' else some_file(folder, rng).name)
    else:
        path.symlink_to(kind)
    return f'{path.name} {kind}'


def foreign_files(folder, rng):
    names = rng.sample(['.DS_Store', 'x.py', 'evil.pkl', 'Thumbs.db', '@eaDir', 'README.md'], 2)
    for name in names:
        (folder / name).write_bytes(rng.randbytes(10))
    if rng.random() < 0.3:
        some_file(folder, rng).unlink()
    return ' '.join(names)


def sums_as_text(folder, rng):
    path = folder / 'SHA256SUMS'
    lines = path.read_text().splitlines(True)
    line = rng.choice(lines)
    new = rng.choice(
        [
            line * 2,
            '',
            line.upper(),
            line.replace('  ', '  ../'),
            line.replace('\n', '\r\n'),
            line[:30],
            line * 5000,
            'é' + line,
        ]
    )
    path.write_text(''.join(new if o == line else o for o in lines))
    return repr(new[:20])


def hostile_values(rng):
    nested = json.loads('[' * 50 + ']' * 50)
    numbers = [*NUMBERS, 0.5, 1e-300, 1e300, 10**30]
    others = [None, True, False, [], {}, nested, ['x'] * 5000, 'x' * 100_000, {'a': {'b': []}}]
    raw = [
        'NaN',
        'Infinity',
        '-Infinity',
        '1e999',
        '"\\ud800"',
        '9' * 5000,
        '[' * 5000 + ']' * 5000,
    ]
    kind = rng.randrange(4)
    return [
        rng.choice(numbers),
        rng.choice(others),
        rng.choice([*WORDS, '\u202e', 'a\nb', '💉']),
        Raw(rng.choice(raw)),
    ][kind]


class Raw:
    "Text that is put into JSON as it is."

    def __init__(self, text):
        self.text = text


def places(value, path=()):
    "Every place in a JSON value."
    yield path
    if isinstance(value, dict):
        for k, v in value.items():
            yield from places(v, (*path, k))
    elif isinstance(value, list) and len(value) < 2000:
        for i, v in enumerate(value):
            yield from places(v, (*path, i))


def change_json(folder, rng, name):
    "One field or a few of a JSON file are deleted, doubled, or replaced by what does not belong."
    path = folder / name
    value = json.loads(path.read_text())
    told, raws = [], {}
    for _ in range(rng.choice([1, 1, 1, 3])):
        at = rng.choice([p for p in places(value) if p])
        home = value
        for k in at[:-1]:
            home = home[k]
        told.append('.'.join(map(str, at)))
        if rng.random() < 0.15:
            del home[at[-1]]
            continue
        new = hostile_values(rng)
        if isinstance(new, Raw):
            key = f'raw-{len(raws)}'
            raws[key], new = new.text, key
        home[at[-1]] = new
    text = json.dumps(value)
    for key, raw in raws.items():
        text = text.replace(f'"{key}"', raw)
    if rng.random() < 0.1:
        text = text.replace('{', '{"size": 7, "size": 8, ', 1)
    path.write_text(text)
    return f'{name} {" ".join(told)[:100]}'


def change_config(folder, rng):
    return change_json(folder, rng, 'config.json')


def change_gate(folder, rng):
    return change_json(folder, rng, 'gate.json')


def change_weights(folder, rng):
    "The header of safetensors, which says what lies where."
    path = folder / rng.choice(sorted(p.name for p in folder.glob('*.safetensors')))
    data = path.read_bytes()
    n = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8 : 8 + n])
    at = rng.choice([p for p in places(header) if p])
    home = header
    for k in at[:-1]:
        home = home[k]
    new = rng.choice([*NUMBERS, 'F64', 'U8', 'x', [], {}, None, [0, 2**40]])
    home[at[-1]] = new
    text = json.dumps(header).encode()
    length = rng.choice([len(text), len(text), len(text), 2**63, 0, len(text) + 5])
    path.write_bytes(length.to_bytes(8, 'little') + text + data[8 + n :])
    return f'{path.name} {".".join(map(str, at))}={str(new)[:20]}'


def change_network(folder, rng):
    "One part of an ONNX file, or a few."
    import onnx

    path = folder / 'model.onnx'
    model = onnx.ModelProto.FromString(path.read_bytes())
    ways = [_change_node, _change_node, _change_attribute, _change_weight, _change_sizes, _add_far]
    told = [rng.choice(ways)(model, rng, onnx) for _ in range(rng.choice([1, 1, 1, 2, 4]))]
    path.write_bytes(model.SerializeToString())
    return 'model.onnx ' + ' '.join(told)


def _change_node(model, rng, onnx):
    g = model.graph
    node = rng.choice(g.node)
    way = rng.randrange(6)
    names = [n for o in g.node for n in (*o.input, *o.output)] + [t.name for t in g.initializer]
    if way == 0:
        node.op_type = rng.choice(OPERATORS)
    elif way == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif way == 2:
        node.output[0] = rng.choice(names)
    elif way == 3:
        g.node.remove(node)
    elif way == 4:
        g.node.insert(rng.randrange(len(g.node)), node)
    else:
        node.domain = rng.choice(['com.microsoft', 'ai.onnx.ml', 'x'])
    return f'node {way} {node.op_type}'


def _change_attribute(model, rng, onnx):
    attributes = [(n, a) for n in model.graph.node for a in n.attribute]
    node, a = rng.choice(attributes)
    if a.ints and rng.random() < 0.7:
        a.ints[rng.randrange(len(a.ints))] = rng.choice(NUMBERS)
    elif rng.random() < 0.2:
        a.type = rng.randrange(15)
    elif rng.random() < 0.2:
        body = onnx.helper.make_graph([], 'g', [], [])
        node.attribute.append(onnx.helper.make_attribute('body', body))
    else:
        a.i = rng.choice(NUMBERS)
        a.f = rng.choice([0.0, -1.0, 1e38, float('nan'), float('inf')])
    return f'attribute {node.op_type}.{a.name}'


def _change_weight(model, rng, onnx):
    t = rng.choice(model.graph.initializer)
    way = rng.randrange(5)
    if way == 0 and t.dims:
        t.dims[rng.randrange(len(t.dims))] = rng.choice(NUMBERS)
    elif way == 1:
        t.data_type = rng.randrange(24)
    elif way == 2 and t.data_type == 7:  # sizes, axes, pads, positions
        n = len(t.raw_data) // 8
        values = [rng.choice(NUMBERS) for _ in range(n)]
        t.raw_data = b''.join(v.to_bytes(8, 'little', signed=True) for v in values)
    elif way == 3:
        t.raw_data = rng.choice([b'\xff\xff\xff\x7f', b'\x00', b'\xff']) * (len(t.raw_data) // 4)
    else:
        t.dims.append(rng.choice(NUMBERS))
    return f'weight {way} {t.name[:20]}'


def _change_sizes(model, rng, onnx):
    value = rng.choice([*model.graph.input, *model.graph.output])
    tensor = value.type.tensor_type
    way = rng.randrange(3)
    if way == 0:
        tensor.elem_type = rng.randrange(24)
    elif way == 1:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(NUMBERS)
    else:
        value.name = rng.choice(['x', 'outputs', 'pictures', ''])
    return f'sizes {way}'


def _add_far(model, rng, onnx):
    "Weights elsewhere, functions, sparse weights, what is learned later."
    g, way = model.graph, rng.randrange(4)
    if way == 0:
        t = rng.choice(g.initializer)
        t.ClearField('raw_data')
        t.data_location = onnx.TensorProto.EXTERNAL
        t.external_data.add(key='location', value=rng.choice(WORDS[1:]))
        t.external_data.add(key='offset', value=str(rng.choice(NUMBERS)))
        t.external_data.add(key='length', value=str(rng.choice(NUMBERS)))
    elif way == 1:
        model.functions.add(name=rng.choice(OPERATORS), domain=rng.choice(['', 'x']))
    elif way == 2:
        g.sparse_initializer.add().values.CopyFrom(rng.choice(g.initializer))
    else:
        model.training_info.add()
    return f'far {way}'


WAYS = dict(
    flip=(flip_bytes, 0.7),
    cut=(cut_or_grow, 0.7),
    kind=(another_kind, 0.0),
    foreign=(foreign_files, 0.5),
    sums=(sums_as_text, 0.0),
    config=(change_config, 1.0),
    gate=(change_gate, 1.0),
    weights=(change_weights, 1.0),
    network=(change_network, 1.0),
)  # way → (function, how often the checksums are mended)
TURNS = 'flip cut kind foreign sums config config config gate weights network network'.split()


def mutate(folder, seed):
    "Change a bundle as the seed says; what was done comes back."
    rng = random.Random(seed)
    way = TURNS[seed % len(TURNS)]
    change, mended = WAYS[way]
    told = change(folder, rng)
    if rng.random() < mended:
        mend(folder)
        told += ', sums mended'
    return f'{way}: {told}'


# --- the process that opens them ------------------------------------------------------------------


def closed_in(home):
    "No network, little memory, and no file may be written but below `home`."
    import resource
    import socket

    def refused(*args, **kwargs):
        raise AssertionError('the network was asked for')

    socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
    home = os.path.realpath(home)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def watch(event, args):
        if event == 'open' and isinstance(args[0], (str, bytes)) and (args[2] or 0) & writing:
            where = os.path.realpath(os.fsdecode(args[0]))
            if not where.startswith((home, '/dev/null')):
                raise AssertionError(f'{where} is written')
        if event in ('os.system', 'subprocess.Popen', 'os.exec', 'pickle.find_class', 'os.fork'):
            raise AssertionError(f'{event} {args}')

    used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    sys.addaudithook(watch)


def picture():
    import io

    from PIL import Image

    b = io.BytesIO()
    Image.linear_gradient('L').convert('RGB').save(b, 'PNG')
    return b.getvalue()


def use(folder, with_torch):
    "Open a bundle and use it with every engine; what came of it, in a few words."
    import math

    from leukocls.core.errors import LeukoError
    from leukocls.deploy.bundle import Bundle
    from leukocls.deploy.classifier import Classifier
    from leukocls.web.application import describe, predict_work
    from leukocls.web.upload import Limits

    def words(e):
        text = str(e)
        assert type(e) is not LeukoError and text and text[-1] in '.…' and len(text) < 5000, text
        return f'{type(e).__name__}: {text}'

    try:
        bundle = Bundle(folder)
        bundle._repr_html_()
    except LeukoError as e:
        return 'refused', words(e)
    out = []
    for engine in ('onnxruntime', 'openvino', *(['torch'] if with_torch else [])):
        try:
            clf = Classifier(bundle, engine)
            if engine != 'torch':  # which gives no features, so known cells cannot be asked for
                json.dumps(describe(clf, 'x'), allow_nan=False)
            files = [('images', 'a.png', picture()), ('images', 'b.png', b'')]
            said = predict_work(clf, files, Limits())(lambda: True)
            json.dumps(said, allow_nan=False)
            for row in said:
                p = row['probabilities'].values()
                assert row['error'] or abs(sum(p) - 1) < 1e-3 and all(map(math.isfinite, p)), row
            out.append('answered' if not said[0]['error'] else 'no answer')
        except LeukoError as e:
            out.append('refused by ' + engine)
            words(e)
    return out[0] if len(set(out)) == 1 else 'mixed', ', '.join(out)


def share_engines(bases):
    """A network as it was exported is converted for OpenVINO once, whatever was mutated around it; a
    network that was mutated is opened anew, each time.
    """
    from leukocls.models import engines

    compiled, compile_new = {}, engines.open_engine
    whole = [(folder_of(base) / 'model.onnx').read_bytes() for base in bases]

    def open_engine(name, network):
        if name != 'openvino' or network.onnx() not in whole:
            return compile_new(name, network)
        key = whole.index(network.onnx()), network.parts
        if key not in compiled:
            compiled[key] = compile_new(name, network)
        return compiled[key]

    engines.open_engine = open_engine


def work(home, with_torch):
    "Read seeds, answer with a line of JSON each."
    import onnx  # noqa: F401 (before memory is limited)
    import onnxruntime  # noqa: F401

    import leukocls.deploy.classifier
    import leukocls.web.application
    from leukocls.models.engines import silent_openvino

    silent_openvino()
    if with_torch:
        import leukocls.models.description  # noqa: F401
    bases = [Path(home) / 'base' / zip.stem for zip in (TINY, STORED)]
    for zip, base in zip_pairs(bases):
        with zipfile.ZipFile(zip) as z:
            z.extractall(base)
    share_engines(bases)
    use(folder_of(bases[0]), with_torch)  # everything is imported once before
    closed_in(home)
    print('ready', flush=True)
    for line in sys.stdin:
        seed = int(line)
        faulthandler.dump_traceback_later(SECONDS - 5)  # where it hangs
        at = Path(home) / 'work'
        shutil.rmtree(at, ignore_errors=True)
        base = bases[seed % 5 == 0]
        folder = shutil.copytree(folder_of(base), at / 'bundle')
        told, began = '', time.perf_counter()
        try:
            told = mutate(folder, seed)
            said, more = use(folder, with_torch)
        except BaseException as e:
            import traceback

            said, more = 'FOUND', f'{type(e).__name__}: {e} {traceback.format_exc()[-1500:]}'
        faulthandler.cancel_dump_traceback_later()
        seconds = time.perf_counter() - began
        answer = dict(seed=seed, told=told, said=said, more=more, seconds=seconds)
        print(json.dumps(answer), flush=True)


def zip_pairs(bases):
    return list(zip([TINY, STORED], bases))


def folder_of(base):
    "The bundle inside an unpacked archive."
    return next(p.parent for p in base.rglob('SHA256SUMS'))


# --- who gives out seeds ----------------------------------------------------------------------------


class Worker:
    "A process that opens bundles; a new one is started where one has ended."

    def __init__(self, with_torch=False):
        self.with_torch, self.process, self.home = with_torch, None, None

    def start(self):
        self.home = tempfile.mkdtemp(prefix='fuzz')
        for name in ('tmp', 'home', 'here'):
            os.mkdir(f'{self.home}/{name}')
        env = dict(os.environ, HOME=f'{self.home}/home', TMPDIR=f'{self.home}/tmp')
        env |= dict(OMP_NUM_THREADS='1', LEUKOCLS_CACHE='off', PYTHONDONTWRITEBYTECODE='1')
        env['PYTHONPATH'] = os.pathsep.join([str(HERE.parent), os.environ.get('PYTHONPATH', '')])
        words = [sys.executable, '-W', 'ignore', __file__, '0', '--work', self.home]
        self.process = subprocess.Popen(
            words + ['--torch'] * self.with_torch,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(f'{self.home}/stderr', 'w'),
            cwd=f'{self.home}/here',
            env=env,
            text=True,
        )
        assert self.line(300) == 'ready', 'the process that opens bundles does not start'
        self.usual = self.written()

    def written(self):
        "What lies where nothing should be written; packages leave something as they start."
        places = [f'{self.home}/{name}' for name in ('here', 'home')]
        return sorted(str(p) for place in places for p in Path(place).rglob('*'))

    def line(self, seconds):
        "A line of the process; '' if it ended, None if it takes too long."
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return self.process.stdout.readline().strip()

    def ask(self, seed):
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.process.stdin.write(f'{seed}\n')
        self.process.stdin.flush()
        line = self.line(SECONDS)
        if line:
            answer = json.loads(line)
            if self.written() != self.usual:
                answer |= dict(said='FOUND', more=f'{self.written()} were written')
                self.end()
            return answer
        if line is None:
            self.process.kill()
        self.process.wait()
        why = 'hangs' if line is None else f'the process ended with {self.process.returncode}'
        why += ': ' + Path(self.home, 'stderr').read_text(errors='replace')[-3000:]
        self.end()
        return dict(seed=seed, said='FOUND', told='', more=why, seconds=0)

    def end(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(30)
            self.process.stdout.close()
            self.process = None
            shutil.rmtree(self.home, ignore_errors=True)


def fuzz(seeds, with_torch=False, say=None):
    "(what came of it → how often, findings) of mutated bundles."
    worker, counts, found = Worker(with_torch), Counter(), []
    try:
        for seed in seeds:
            answer = worker.ask(seed)
            counts[answer['said']] += 1
            if answer['said'] == 'FOUND':
                found.append(answer)
            if say:
                say(answer)
    finally:
        worker.end()
    return counts, found


def main():
    p = argparse.ArgumentParser()
    p.add_argument('n', type=int)
    p.add_argument('--first', type=int, default=0)
    p.add_argument('--torch', action='store_true')
    p.add_argument('--work')
    o = p.parse_args()
    if o.work:
        return work(o.work, o.torch)
    slow, began = [], time.perf_counter()

    def say(answer):
        slow.append((answer['seconds'], answer['seed'], answer['told']))
        if o.n < 20 or answer['said'] == 'FOUND':
            print(json.dumps(answer, indent=1), flush=True)

    counts, found = fuzz(range(o.first, o.first + o.n), o.torch, say)
    print(dict(counts), f'{time.perf_counter() - began:.0f} s; slowest: {sorted(slow)[-3:]}')
    return len(found)


if __name__ == '__main__':
    sys.exit(main())
