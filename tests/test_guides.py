"The guides: errors are quoted as the package words them, functions that are named exist."

import ast
import functools
import importlib
import json
import re
from pathlib import Path

import pytest
from syntax import parse

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ROOT / 'nbs/guides'


def prose_of(path):
    cells = json.loads(path.read_text(encoding='utf8'))['cells']
    return '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')


def fixed_part(node):
    "A constant as it is; what an f-string fills in is `…`."
    return node.value if isinstance(node, ast.Constant) else '…'


@functools.cache
def texts_of_the_package():
    "Every text in the package's code."
    texts = []
    for path in sorted((ROOT / 'leukocls').rglob('*.py')):
        for node in ast.walk(parse(path.read_text(encoding='utf8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append(''.join(map(fixed_part, node.values)))
    return texts


def quoted_errors():
    "Headings of the page that quote a text."
    text = prose_of(GUIDES / 'troubleshooting.ipynb')
    return re.findall(r'^### `(.+?)`?$', text, flags=re.M)


def fragments(quoted):
    "The fixed parts of a quoted text."
    return [part.strip() for part in quoted.split('…') if len(part.strip(' `.,:')) > 2]


@pytest.mark.parametrize('quoted', quoted_errors())
def test_quoted_errors_exist(quoted):
    "Each fixed part of a quoted text stands in the package."
    texts = texts_of_the_package()
    parts = fragments(quoted)
    assert parts
    for part in parts:
        assert any(part in text for text in texts), part


def test_twenty_errors_are_explained():
    assert len(quoted_errors()) >= 20


def decisions():
    "(question, function) of each row of the table for developers."
    text = prose_of(GUIDES / 'where_is_it_decided.ipynb')
    return re.findall(r'^\| ([^|]+?) \| `(leukocls\.[\w.]+)`', text, flags=re.M)


@pytest.mark.parametrize('question, name', decisions())
def test_functions_that_decide_exist(question, name):
    module, _, attribute = name.rpartition('.')
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition('.')
            attribute = f'{last}.{attribute}'
    first, *others = attribute.split('.')
    found = getattr(found, first)
    # the file that is named is the one to change, not one that imports from it
    assert getattr(found, '__module__', module) in (module, 'builtins')
    for part in others:
        found = getattr(found, part)
    assert found is not None


def test_many_decisions_are_named():
    assert len(decisions()) >= 25


@pytest.mark.parametrize('path', sorted(GUIDES.glob('*.ipynb')), ids=lambda p: p.stem)
def test_guides_link_on(path):
    "No guide is a dead end."
    assert len(re.findall(r'\]\([^)\s]+\.ipynb\)', prose_of(path))) >= 1 or path.stem == 'changes'
