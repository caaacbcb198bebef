"""Damaged exports by the thousand, read by processes that have no network and little memory.

`python tests/fuzz_pickle.py 5000` runs that many and prints what became of them. Seeds are whole
exports whose weights repeat a pattern, so that they pack to a few kB.
"""

import collections
import hashlib
import io
import json
import lzma
import os
import pickletools
import random
import resource
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

SEEDS = Path(__file__).parent / 'seeds' / 'pickle'
SPARE = 1_500_000_000  # bytes that reading may take on top of what an idle process has
SECONDS = 60  # for one file


def seeds():
    "Name → bytes of an export."
    return {p.name.split('.')[0]: lzma.decompress(p.read_bytes()) for p in SEEDS.glob('*.xz')}


def unpack(data):
    "[(name, bytes)] of the records of a file."
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return [(n, z.read(n)) for n in z.namelist()]


def pack(records, how=zipfile.ZIP_STORED):
    "The file of some records."
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, 'w', how) as z:
        for name, data in records:
            z.writestr(zipfile.ZipInfo(name), data, compress_type=how)
    return whole.getvalue()


# What is done to a file: (random numbers, bytes) → (bytes, names of records whose numbers changed)


def flip_bytes(rng, data):
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def flip_frame(rng, data):
    "Bytes of headers and of the directory, which are a small part of a file."
    out = bytearray(data)
    marks = [i for i in range(len(data) - 4) if data[i : i + 2] == b'PK' and data[i + 2] < 9]
    at = rng.choice(marks)
    for _ in range(rng.randint(1, 4)):
        out[min(at + rng.randrange(46), len(out) - 1)] = rng.randrange(256)
    return bytes(out)


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def swap_records(rng, data):
    records = unpack(data)
    i, j = rng.sample(range(len(records)), 2)
    (a, x), (b, y) = records[i], records[j]
    records[i], records[j] = (a, y), (b, x)
    return pack(records)


STRANGE_NAMES = (
    '.learner/constants.pkl',
    '.learner/code/x.py',
    '../x',
    '/etc/x',
    '.learner/data/../../x',
    '.learner/data/0',
    '.learner/data.pkl',
    'data.pkl',
    '.learner\\data\\0',
    '',
)


def rename_record(rng, data):
    records = unpack(data)
    i = rng.randrange(len(records))
    records[i] = rng.choice(STRANGE_NAMES), records[i][1]
    return pack(records)


def add_record(rng, data):
    return pack([*unpack(data), (rng.choice(STRANGE_NAMES), b'x')])


def drop_record(rng, data):
    records = unpack(data)
    records.pop(rng.randrange(len(records)))
    return pack(records)


def compress(rng, data):
    return pack(unpack(data), zipfile.ZIP_DEFLATED)


def change_numbers(rng, data):
    "Bytes of one record of numbers; the sum is made right again."
    records = unpack(data)
    i = rng.choice([i for i, (n, b) in enumerate(records) if '/data/' in n and b])
    out = bytearray(records[i][1])
    for _ in range(rng.randint(1, 8)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    records[i] = records[i][0], bytes(out)
    return pack(records)


def _with_stream(data, change):
    return pack([(n, change(b) if n.endswith('data.pkl') else b) for n, b in unpack(data)])


def flip_stream(rng, data):
    return _with_stream(data, lambda b: flip_bytes(rng, b))


def cut_stream(rng, data):
    def cut(b):
        steps = [at for _, _, at in pickletools.genops(b)]
        i, j = sorted(rng.sample(steps, 2))
        return b[:i] + b[min(j, i + 400) :]

    return _with_stream(data, cut)


def repeat_stream(rng, data):
    def repeat(b):
        steps = [at for _, _, at in pickletools.genops(b)]
        i = rng.randrange(len(steps) - 20)
        part = b[steps[i] : steps[i + rng.randint(1, 19)]]
        return b[: steps[i]] + part * rng.choice([2, 3, 50, 3000]) + b[steps[i] :]

    return _with_stream(data, repeat)


def replace_steps(rng, data):
    "Opcodes become others."

    def replace(b):
        out = bytearray(b)
        steps = [at for _, _, at in pickletools.genops(b)]
        for at in rng.sample(steps, rng.randint(1, 3)):
            out[at] = ord(rng.choice(pickletools.opcodes).code)
        return bytes(out)

    return _with_stream(data, replace)


STRANGE_STEPS = (
    b'cos\nsystem\n(X\x04\x00\x00\x00truetR0',
    b'cbuiltins\neval\n(X\x01\x00\x00\x001tR0',
    b'ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b0',
    b'cbuiltins\nset\n(]tR0',
    b'ctorch\nSize\n(J\xff\xff\xff\x7ftR0',
    b'r\xff\xff\xff\x7f',
    b'\x8a\xff' + b'\x7f' * 255 + b'0',
    b'\x8b\xff\xff\xff\x7f',
    b'(' * 20_000,
    b']' * 50_000,
    b')\x85' + b'\x85' * 50_000 + b'0',
    b'\x97',
    b'\x98',
    b'Ptrue\n',
    b'(cos\nsystem\no0',
    b'(X\x04\x00\x00\x00trueios\nsystem\n0',
    b'\x82\x01',
)


def insert_steps(rng, data):
    def insert(b):
        at = rng.choice([at for _, _, at in pickletools.genops(b)][1:])
        return b[:at] + rng.choice(STRANGE_STEPS) + b[at:]

    return _with_stream(data, insert)


INTS = (0, -1, 1, 2**31 - 1, -(2**31), 3, 4096)


def change_ints(rng, data):
    "Numbers of the stream: sizes, offsets, strides, settings of layers."

    def change(b):
        out = bytearray(b)
        steps = [(op.name, at) for op, _, at in pickletools.genops(b)]
        places = [at for name, at in steps if name in ('BININT', 'BININT1', 'BININT2')]
        for at in rng.sample(places, rng.randint(1, 3)):
            size = {0x4A: 4, 0x4B: 1, 0x4D: 2}[b[at]]
            value = rng.choice(INTS)
            out[at + 1 : at + 1 + size] = value.to_bytes(8, 'little', signed=True)[:size]
        return bytes(out)

    return _with_stream(data, change)


def change_names(rng, data):
    "Names of classes and functions become others of the stream, or strange ones."

    def change(b):
        names = [(at, arg) for op, arg, at in pickletools.genops(b) if op.name == 'GLOBAL']
        at, old = rng.choice(names)
        strange = ('os system', 'builtins eval', 'torch load', 'torch.jit load', 'io open')
        new = rng.choice([*strange, rng.choice(names)[1]]).replace(' ', '\n')
        return b[: at + 1] + new.encode() + b'\n' + b[at + 3 + len(old) - 1 :]

    return _with_stream(data, change)


WHOLE = (flip_bytes, flip_frame, truncate)  # the sums of records find what these do
FRAMES = (swap_records, rename_record, add_record, drop_record, compress)
STREAMS = (
    flip_stream,
    cut_stream,
    repeat_stream,
    replace_steps,
    insert_steps,
    change_ints,
    change_names,
)
KINDS = (*WHOLE, *FRAMES, change_numbers, *STREAMS)


def mutant(seed, i, originals):
    "(name of the seed, kind of change, bytes), the same for the same numbers."
    rng = random.Random(f'{seed} {i}')
    name = rng.choice(sorted(originals))
    kind = KINDS[i % len(KINDS)]
    return name, kind, kind(rng, originals[name])


# The process that reads


def watch(own, events):
    "Note what a process opens for writing, starts or connects to, from now on."
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, args):
        if event == 'open':
            path, mode, flags = args
            if flags is not None and flags & writes and not str(path).startswith(own):
                events.append(f'writes {path}')
        elif event.split('.')[0] in ('socket', 'subprocess') or event in (
            'os.system',
            'os.exec',
            'os.posix_spawn',
            'os.mkdir',
            'os.rename',
            'os.remove',
            'os.symlink',
            'os.link',
        ):
            events.append(event)

    sys.addaudithook(hook)


def summary(found):
    "What was read, so that two readings can be compared."
    import torch

    def digest(v):
        raw = v.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(f'{v.dtype}{tuple(v.shape)}'.encode() + raw).hexdigest()[:16]

    facts = {k: repr(found[k]) for k in ('described', 'pixels', 'mean', 'std', 'classes')}
    weights = {f'{p}.{k}': digest(v) for p in ('body', 'head') for k, v in found[p].items()}
    return dict(facts=facts, weights=weights)


def read(path):
    "What becomes of one file."
    from leukocls.core.errors import LeukoError
    from leukocls.deploy.conversion import read_learner
    from leukocls.models.description import build_network

    try:
        found = read_learner(path)
    except LeukoError as e:
        return dict(error=str(e))
    out = summary(found)
    try:
        build_network(found['described'], found['body'], found['head'])
    except LeukoError as e:
        out['unbuilt'] = str(e)
    return out


def torch_is_itself():
    "A text of what a pickle could have changed in PyTorch and Python."
    import collections

    import torch

    functions = [v for v in vars(torch._utils).values() if getattr(v, '__code__', None)]
    told = [(f.__name__, f.__defaults__, f.__kwdefaults__, f.__dict__) for f in functions]
    return repr(told) + repr(sorted(vars(collections.OrderedDict))) + repr(sorted(vars(torch.Size)))


def serve(own):
    "Read the files that are named on standard input, and answer with a line of JSON each."
    import logging
    import socket
    import warnings

    warnings.simplefilter('ignore')
    logging.disable(logging.ERROR)
    answers = os.fdopen(os.dup(1), 'w')
    sys.stdout = sys.stderr
    for name, data in seeds().items():
        (path := Path(own) / f'{name}.pkl').write_bytes(data)
        read(path)  # all that is imported is imported now

    def refuse(*args, **kwargs):
        raise OSError('no network here')

    socket.socket = socket.create_connection = refuse
    before, events = torch_is_itself(), []
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE,) * 2)
    watch(own, events)
    for line in sys.stdin:
        events.clear()
        try:
            out = read(line.rstrip('\n'))
        except BaseException as e:
            out = dict(traceback=f'{type(e).__name__}: {str(e)[:200]}')
        if torch_is_itself() != before:
            events.append('PyTorch was changed')
        print(json.dumps(out | dict(events=list(events))), file=answers, flush=True)


class Reader:
    "A process that reads files; it is started again where it ends."

    def __init__(self, own):
        self.own, self.process = own, None

    def start(self):
        words = [sys.executable, __file__, '--serve', self.own]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, path):
        if self.process is None or self.process.poll() is not None:
            self.start()
        # the first answer waits for imports
        alarm = threading.Timer(SECONDS * 5, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write(f'{path}\n')
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ''
        finally:
            alarm.cancel()
        return json.loads(line) if line else dict(ended=self.process.wait())

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def fault_of(kind, answer, want):
    "What is wrong with an answer, or None."
    if 'ended' in answer:
        return f'the process ended with {answer["ended"]}'
    if answer['events']:
        return f'it did {answer["events"][:3]}'
    if 'traceback' in answer:
        return answer['traceback']
    if 'error' in answer:
        return None if answer['error'].endswith(('.', 'RUN.')) else 'the error is no sentence'
    if kind in STREAMS:
        return None  # another learner may stand in it; it was checked and built
    differ = [k for k, v in want['weights'].items() if answer['weights'].get(k) != v]
    # one record's numbers were changed, or two records' were exchanged; they may be the loaders'
    most = {change_numbers: 1, swap_records: 2}.get(kind)
    if most:
        same = all(answer['facts'][k] == want['facts'][k] for k in ('pixels', 'classes'))
        return None if same and len(differ) <= most else 'other weights than those changed'
    return 'another learner' if differ or answer['facts'] != want['facts'] else None


def fuzz(n, seed=0, workers=2):
    "(counts of what became of n files, [(number, kind, fault)])."
    originals, counts, faults = seeds(), collections.Counter(), []
    numbers, lock = iter(range(n)), threading.Lock()
    with tempfile.TemporaryDirectory() as folder:

        def work(w):
            own = Path(folder) / str(w)
            own.mkdir()
            reader, wants = Reader(str(own)), {}
            for name, data in originals.items():
                (own / 'x.pkl').write_bytes(data)
                wants[name] = reader.ask(own / 'x.pkl')
            while True:
                with lock:
                    i = next(numbers, None)
                if i is None:
                    break
                name, kind, data = mutant(seed, i, originals)
                (own / 'x.pkl').write_bytes(data)
                answer = reader.ask(own / 'x.pkl')
                fault = fault_of(kind, answer, wants[name])
                with lock:
                    counts[kind.__name__, outcome(answer, wants[name])] += 1
                    if fault:
                        faults.append((i, name, kind.__name__, fault))
            reader.close()

        threads = [threading.Thread(target=work, args=(w,)) for w in range(workers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return counts, faults


def outcome(answer, want):
    if 'error' in answer:
        return 'refused'
    if 'weights' not in answer:
        return 'fault'
    if 'unbuilt' in answer:
        return 'read, not built'
    same = all(answer[k] == want[k] for k in ('facts', 'weights'))
    return 'the same learner' if same else 'another learner'


if __name__ == '__main__':
    if sys.argv[1:2] == ['--serve']:
        serve(sys.argv[2])
    else:
        counts, faults = fuzz(int(sys.argv[1]), int((sys.argv[2:] or ['0'])[0]))
        for (kind, what), n in sorted(counts.items()):
            print(f'{kind:16} {what:18} {n:6,}')
        print(f'{len(faults)} faults', *faults[:20], sep='\n')
