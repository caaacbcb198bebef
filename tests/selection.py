"""Which tests belong to which selection, judged by the words of the tests themselves.

A test has to do with fastai where its own source, or that of a function of its file that it uses,
speaks of a learner or of training a network, or where it asks for a fixture that holds a learner.
What begins with a written bundle, or fits something that is no network, has not. A test is quick
where neither trains nor starts a process. Of a slower test with several sets of parameters, the
first stands for all where another version of fastai is asked. Reports have plots in the tests that
speak of reports or plots; gates learn kinds of change from as many pictures as usual in the tests
that speak of gates.
"""

import ast
import re
from functools import cache
from pathlib import Path

from syntax import parse

# Answers that may depend on fastai's version
SPEAKS_OF_FASTAI = re.compile(
    r'fastai|fastcore|learner|[Cc]allback|DataLoaders|\bdls\b'
    r'|\b(fit|fit_one_cycle|fit_network|fine_tune)\('
)
TRAINS = re.compile(r'\b(train|train_all|fitted|reproduce)\(')
# Commands that train; elsewhere the word 'train' is the name of a side
COMMANDS = re.compile(r'\b(leukocls|here|main|run|Popen)\(')
TRAINS_BY_COMMAND = re.compile(r'[\'"](train|demo)[\'"]')
HOLDS_LEARNER = {'run', 'learn', 'plain_fastai'}  # fixtures with a learner in them
QUOTED = re.compile(r'[\'"]([a-z0-9-]+)[\'"]')
# What takes a test its time
TAKES_TIME = re.compile(
    r'\b(train(_all)?|fit|fitted|fit_\w+|export_bundle|convert_pickle|leukocls|fuzz|draw_films)\('
    r'|subprocess|Popen|timm\.create_model|Classifier\.load|PLAYWRIGHT|chrome'
)
# A test that asks what the plots of a report are, or what they do to something odd
SPEAKS_OF_PLOTS = re.compile(r'[Pp]lot|[Rr]eport|\.png|[Ff]igure|diverge')
# A test that asks what a gate says, or what lies in files that hold one
SPEAKS_OF_GATES = re.compile(
    r'\b[Gg]ates?\b|gate_|_gate\b|Gate\(|in_domain|[Rr]efuse|[Uu]nlike|[Dd]egrad|[Ss]hift|KINDS|CHANGED|stored'
)
TRAINED = {'run', 'quick', 'learn', 'small_bundle', 'local_weights', 'plain_fastai'}  # fixtures
BIG = {'slow', 'data', 'browser', 'cuda'}  # markers of what is never quick


def needs_fastai(item) -> bool:
    """Whether another version of fastai may change what a test says. A bundle is made with fastai
    and read without it: a test that asks for the common bundle alone judges what comes after.
    """
    words, names = _reached_by(item)
    if SPEAKS_OF_FASTAI.search(words) or HOLDS_LEARNER & names:
        return True
    by_command = COMMANDS.search(words) and TRAINS_BY_COMMAND.search(words)
    return bool((TRAINS.search(words) or by_command) and not _trains_no_network(words, names))


def _trains_no_network(words, names):
    "Whether all recipes that a test names are classical systems, which scikit-learn fits."
    kinds = _kinds_of_recipes()
    named = {kinds[word] for word in QUOTED.findall(words) if word in kinds}
    return named == {'classical'} and not {'quick', 'local_weights'} & names


@cache
def _kinds_of_recipes():
    "Name → kind of every recipe; a group, such as all of a paper, holds networks too."
    from leukocls.train.recipes import GROUPS, recipes

    return recipes().kind.to_dict() | dict.fromkeys(GROUPS, 'network')


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


def looks_at_plots(item) -> bool:
    "Whether the plots of reports belong to what a test judges."
    return bool(SPEAKS_OF_PLOTS.search(words_of(item)))


def asks_the_gate(item) -> bool:
    "Whether what a gate has learned of kinds of change belongs to what a test judges."
    return bool(SPEAKS_OF_GATES.search(words_of(item)))


def words_of(item) -> str:
    "The source of a test, of what it uses of its own file, and of its fixtures there."
    return _reached_by(item)[0]


def _reached_by(item):
    "(source of a test and of what it uses of its own file, all names in it)."
    # fixtures that a mark asks for stand nowhere in the source
    asked = [name for mark in item.iter_markers('usefixtures') for name in mark.args]
    return _reached_from(item.path, (item.originalname or item.name, *asked))


@cache
def _reached_from(path, first):
    parts = _parts_of(path)
    seen, names = set(), set()
    todo = list(first)
    while todo:
        name = todo.pop()
        names.add(name)
        if name in parts and name not in seen:
            seen.add(name)
            todo += parts[name][1]
    return '\n'.join(parts[name][0] for name in sorted(seen)), names


@cache
def _parts_of(path: Path) -> dict:
    "Name → (source, names it uses) of everything at the top level of a test file."
    lines = path.read_text(encoding='utf8').splitlines()
    parts = {}
    for node in parse('\n'.join(lines)).body:
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
