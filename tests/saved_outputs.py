"""Are the outputs that the lessons show those that their cells give today?

Runs notebooks as `nbdev_test` does, and compares what each shown cell prints and returns with what is
saved. Numbers may differ as far as two machines round them (`--digits`); pictures are compared by their
presence. With `--save` new outputs replace old ones, except where they name a folder of this machine.

    python tests/saved_outputs.py                    # all lessons; exit code 1 where something differs
    python tests/saved_outputs.py nbs/measure/03_domain.ipynb --save
"""

import argparse
import json
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SHOWN = re.compile(r'^#\|\s*(hide|export\w*|exec|eval:\s*false|include:\s*false)', re.M)
NUMBER = re.compile(r'-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?')
PLACE = re.compile(r'/(home|root|Users|work|tmp|opt)/\w')


def is_print(output):
    "Whether something was printed to be read; warnings and bars are not."
    text = ''.join(output.get('text', ''))
    return output.get('name') == 'stdout' and not set('\r█') & set(text)


def text_of(outputs):
    "What was printed and returned, as one text; pictures as a word."
    parts = []
    for one in outputs:
        kind = one['output_type']
        if is_print(one):
            parts.append(''.join(one['text']))
        elif kind in ('execute_result', 'display_data'):
            data = one['data']
            if any(name.startswith('image/') for name in data):
                parts.append('[picture]')
            else:
                # a table of results is Markdown
                parts.append(''.join(data.get('text/markdown', data.get('text/plain', ''))))
    return '\n'.join(part.strip() for part in parts if part.strip())


def alike(saved, new, digits):
    "Whether two texts differ in nothing but how numbers were rounded."
    if NUMBER.sub('#', saved) != NUMBER.sub('#', new):
        return False
    pairs = zip(NUMBER.findall(saved), NUMBER.findall(new))
    return all(same_number(a, b, digits) for a, b in pairs)


def same_number(a, b, digits):
    a, b = (float(text.rstrip(',.').replace(',', '')) for text in (a, b))
    return abs(a - b) <= 10**-digits * max(abs(a), abs(b))


def run(path, save, digits):
    "[(number of a cell, saved text, new text)] of what differs in a notebook."
    from execnb.shell import CaptureShell

    book = json.loads(path.read_text(encoding='utf8'))
    os.chdir(path.parent)
    os.environ['IN_TEST'] = '1'
    shell = CaptureShell()
    shell.run('import warnings; warnings.simplefilter("ignore")')
    differing = []
    for number, cell in enumerate(book['cells']):
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or 'nbdev_export()' in source or 'default_exp' in source:
            continue
        outputs = shell.run(source) or []
        if shell.exc:
            return [*differing, (number, '', f'{type(shell.exc).__name__}: {shell.exc}')]
        saved, new = text_of(cell['outputs']), text_of(outputs)
        if NOT_SHOWN.search(source) or alike(saved, new, digits):
            continue
        differing.append((number, saved, new))
        if save and not PLACE.search(json.dumps(outputs)):
            kept = [one for one in outputs if is_print(one) or one['output_type'] != 'stream']
            cell['outputs'] = [as_saved(one) for one in kept]
    if save:
        text = json.dumps(book, ensure_ascii=False, indent=1)
        path.write_text(f'{text}\n', encoding='utf8')
    return differing


def as_saved(output):
    "An output as `nbdev_clean` leaves it."
    output = dict(output, metadata=output.get('metadata', {}))
    if output['output_type'] == 'execute_result':
        output['execution_count'] = None
    if output['output_type'] == 'stream':
        del output['metadata']
    # as Jupyter sorts them
    return json.loads(json.dumps(output, sort_keys=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('notebooks', nargs='*', type=Path)
    parser.add_argument('--save', action='store_true', help='Save what the cells give today.')
    parser.add_argument('--digits', type=int, default=3, help='Digits that must be equal.')
    asked = parser.parse_args()
    books = [path.resolve() for path in asked.notebooks]
    books = books or sorted(p for p in (ROOT / 'nbs').rglob('*.ipynb') if '_' not in p.parts)
    n = 0
    with ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        runs = [(path, pool.submit(run, path, asked.save, asked.digits)) for path in books]
        for path, differing in ((path, one.result()) for path, one in runs):
            for number, saved, new in differing:
                n += 1
                print(f'{path.relative_to(ROOT)}, cell {number}\n  saved: {saved}\n  now:   {new}')
    print(f'{n:,} cells of {len(books)} notebooks differ.')
    sys.exit(n > 0 and not asked.save)


if __name__ == '__main__':
    main()
