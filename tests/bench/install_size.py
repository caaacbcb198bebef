"""How much room an installation takes: packages that each extra brings, from what is installed.

python tests/bench/install_size.py --out results/install.csv
"""

import argparse
import importlib.metadata as metadata
import re
from pathlib import Path

import pandas as pd
from packaging.requirements import Requirement

WAYS = {
    'leukocls': '',
    'leukocls[serve,app]': 'serve,app',
    'leukocls[export]': 'export',
    'leukocls[train]': 'train',
    'leukocls[train,export,app]': 'train,export,app',
}
# what PyTorch for CUDA has on top of PyTorch for CPUs, on Linux
CUDA = re.compile(r'^(nvidia-|cuda-|triton$)')
COMMAND = 'python tests/bench/install_size.py --out results/install.csv'


def megabytes(name):
    "Size of the files of an installed package, compiled bytecode left out."
    files = metadata.files(name) or ()
    paths = [Path(f.locate()) for f in files if f.suffix != '.pyc']
    return sum(p.stat().st_size for p in paths if p.is_file()) / 1e6


def needs(requirements, extra=''):
    for text in requirements or ():
        need = Requirement(text)
        if not need.marker or need.marker.evaluate(dict(extra=extra)):
            yield re.sub(r'[-_.]+', '-', need.name).lower(), need.extras


def packages(settings, extras):
    "Names of all packages that an installation brings."
    texts = settings['requirements'].split()
    for extra in filter(None, extras.split(',')):
        texts += settings[f'{extra}_requirements'].split()
    found, waiting = set(), list(needs(texts))
    while waiting:
        name, more = waiting.pop()
        if name in found:
            continue
        found.add(name)
        listed = metadata.requires(name)
        waiting += [need for extra in ('', *more) for need in needs(listed, extra)]
    return found


def main():
    from configparser import ConfigParser

    words = argparse.ArgumentParser()
    words.add_argument('--out', type=Path, required=True)
    given = words.parse_args()
    settings = ConfigParser(delimiters=['='])
    settings.read(Path(__file__).resolve().parents[2] / 'settings.ini', encoding='utf8')
    rows = []
    for way, extras in WAYS.items():
        sizes = {name: megabytes(name) for name in packages(settings['DEFAULT'], extras)}
        cuda = sum(size for name, size in sizes.items() if CUDA.match(name))
        rows.append(
            dict(
                install=way,
                packages=len(sizes),
                megabytes=round(sum(sizes.values())),
                of_it_for_cuda=round(cuda),
                torch=metadata.version('torch'),
                command=COMMAND,
            )
        )
    pd.DataFrame(rows).to_csv(given.out, index=False, lineterminator='\n')


if __name__ == '__main__':
    main()
