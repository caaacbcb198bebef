"""Which tests belong to which selection, judged by the words of the tests themselves.

A test has to do with fastai where its own source, or that of a function of its file that it uses,
speaks of training or of a learner. A test is quick where neither trains nor starts a process. Of a
slower test with several sets of parameters, the first stands for all where another version of
fastai is asked.
"""

import ast
import re
from functools import cache
from pathlib import Path

# Answers that may depend on fastai's version
SPEAKS_OF_FASTAI = re.compile(
    r'fastai|fastcore|learner|DataLoaders|\bdls\b|\b(train|fit)\w*\(|[\'"](train|demo)[\'"]'
)
# What takes a test its time
TAKES_TIME = re.compile(
    r'\b(train(_all)?|fitted|fit_\w+|export_bundle|convert_pickle|leukocls|fuzz|draw_films)\('
    r'|subprocess|Popen|timm\.create_model|Classifier\.load|PLAYWRIGHT|chrome'
)
TRAINED = {'run', 'quick', 'learn', 'small_bundle', 'local_weights', 'plain_fastai'}  # fixtures
BIG = {'slow', 'data', 'browser', 'cuda'}  # markers of what is never quick


def needs_fastai(item) -> bool:
    "Whether another version of fastai may change what a test says."
    return bool(SPEAKS_OF_FASTAI.search(words_of(item)) or TRAINED & set(item.fixturenames))


def is_quick(item) -> bool:
    "Whether a test takes far less than a second."
    if TRAINED & set(item.fixturenames) or any(item.get_closest_marker(m) for m in BIG):
        return False
    return not TAKES_TIME.search(words_of(item))


def is_repeated(item) -> bool:
    "Whether a slower test has been asked already, with the parameters that come first."
    if is_quick(item) or not hasattr(item, 'callspec'):
        return False
    # pytest's place of each parameter in its list
    return any(item.callspec.indices.values())


def words_of(item) -> str:
    "The source of a test, of what it uses of its own file, and of its fixtures there."
    parts = _parts_of(item.path)
    seen, todo = set(), [item.originalname or item.name, *item.fixturenames]
    while todo:
        name = todo.pop()
        if name in parts and name not in seen:
            seen.add(name)
            todo += parts[name][1]
    return '\n'.join(parts[name][0] for name in sorted(seen))


@cache
def _parts_of(path: Path) -> dict:
    "Name → (source, names it uses) of everything at the top level of a test file."
    lines = path.read_text(encoding='utf8').splitlines()
    parts = {}
    for node in ast.parse('\n'.join(lines)).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, 'decorator_list', ()))])
        source = '\n'.join(lines[first - 1 : node.end_lineno])
        inside = list(ast.walk(node))
        used = {n.id for n in inside if isinstance(n, ast.Name)}
        used |= {n.arg for n in inside if isinstance(n, ast.arg)}
        for name in _names_made_by(node):
            parts[name] = source, used
    return parts


def _names_made_by(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    return []
