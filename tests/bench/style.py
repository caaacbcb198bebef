"""How readable the code is, in numbers: widths, statements a line, complexity, of two checkouts and
of libraries that are read with pleasure.

    python tests/bench/style.py --checkouts OLD NEW --names e3728d9 NEW --packages fastcore timm \\
        --out results/style.csv

OLD and NEW are folders with a checkout each (`git worktree add OLD e3728d9`). `modules` are the
exported cells of the notebooks, since modules are made from them; `shown cells` are the others.
Comments, docstrings and empty lines do not count as code lines, but count for the widest line.
"""

import argparse
import ast
import importlib.util
import io
import json
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pandas as pd
from said import command

EXPORTED = re.compile(r'^\s*#\s*\|\s*export', re.M)


def cells_of(notebook):
    "(source, exported or not) of each code cell."
    for cell in json.loads(notebook.read_text(encoding='utf8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not re.match(r'\s*%', source):
            yield source, bool(EXPORTED.search(source))


def parts_of(checkout):
    "Part of the project → its sources."
    notebooks = [p for p in sorted((checkout / 'nbs').rglob('*.ipynb')) if '_proc' not in p.parts]
    cells = [cell for p in notebooks for cell in cells_of(p)]
    bench = sorted((checkout / 'tests' / 'bench').rglob('*.py'))
    tests = [p for p in sorted((checkout / 'tests').rglob('*.py')) if p not in bench]
    scripts = sorted((checkout / 'leukocls' / 'static').glob('*.js'))
    return {
        'modules': [source for source, exported in cells if exported],
        'shown cells': [source for source, exported in cells if not exported],
        'tests': [p.read_text(encoding='utf8') for p in tests],
        'tests/bench': [p.read_text(encoding='utf8') for p in bench],
        'JavaScript': [p.read_text(encoding='utf8') for p in scripts],
    }


def sources_of(package):
    "Sources of an installed package."
    folder = Path(importlib.util.find_spec(package).origin).parent
    return [p.read_text(encoding='utf8') for p in sorted(folder.rglob('*.py'))]


def several_statements(source):
    "Number of lines on which two or more simple statements begin."
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return 0
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Raise, ast.Assert)
    lines = pd.Series([n.lineno for n in ast.walk(tree) if isinstance(n, simple)], dtype=int)
    return int((lines.value_counts() > 1).sum())


def code_lines(source):
    "Lines that hold code: no comment alone, no docstring, not empty."
    lines = source.splitlines()
    prose = set()
    try:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                prose |= set(range(node.lineno, node.end_lineno + 1))
    except SyntaxError:
        pass
    return [
        line
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.strip().startswith(('#', '//')) and number not in prose
    ]


def lambdas(source):
    try:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        return sum(t.string == 'lambda' for t in tokens)
    except (tokenize.TokenError, IndentationError):
        return 0


def complex_functions(sources):
    "Functions of complexity above 10, by ruff (C901)."
    found = 0
    for source in sources:
        asked = [sys.executable, '-m', 'ruff', 'check', '--isolated', '--select', 'C901']
        asked += ['--output-format', 'json', '--stdin-filename', 'cell.py', '-']
        done = subprocess.run(asked, input=source, capture_output=True, text=True)
        found += len(json.loads(done.stdout or '[]'))
    return found


def measure(sources, python=True):
    "Figures of a part, as in a row of the table."
    lines = [line for source in sources for line in code_lines(source)]
    widths = sorted(map(len, lines))
    everything = [line for source in sources for line in source.splitlines()]
    count = len(lines) or 1
    row = dict(
        code_lines=len(lines),
        median_width=statistics.median(widths) if widths else 0,
        p90_width=widths[int(0.9 * len(widths))] if widths else 0,
        widest=max(map(len, everything), default=0),
        percent_above_120=round(100 * sum(w > 120 for w in widths) / count, 2),
    )
    if python:
        several = sum(map(several_statements, sources))
        row |= dict(
            percent_several_statements=round(100 * several / count, 2),
            lambdas_per_1000=round(1000 * sum(map(lambdas, sources)) / count, 1),
            complexity_above_10=complex_functions(['\n\n'.join(sources)]),
        )
    return row


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--checkouts', nargs='+', type=Path, required=True)
    ap.add_argument('--names', nargs='+', required=True)
    ap.add_argument('--packages', nargs='*', default=['fastcore'])
    ap.add_argument('--out', required=True)
    asked = ap.parse_args()
    rows = []
    for checkout, name in zip(asked.checkouts, asked.names):
        for part, sources in parts_of(checkout).items():
            rows.append(dict(code=name, part=part, **measure(sources, part != 'JavaScript')))
    for package in asked.packages:
        rows.append(dict(code=package, part='package', **measure(sources_of(package))))
    table = pd.DataFrame(rows).assign(command=command())
    table.to_csv(asked.out, index=False, lineterminator='\n')
    print(table.drop(columns='command').to_string(index=False))


if __name__ == '__main__':
    main()
