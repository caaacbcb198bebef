"""How the documentation shows a function: its signature as code, its parameters as a table. Written
by hand; nbdev finds it through `procs` in settings.ini, nothing at run time needs it."""

import dataclasses
import importlib
import inspect
import re
import warnings
from functools import reduce
from pathlib import Path
from typing import Annotated, get_args, get_origin

from fastcore.docments import docments

_SIGNATURE = re.compile(r'```python\n(def .*?|class .*?)\n```', re.S)
_LINK = re.compile(r'\[(`[^`]+`)\]\(https?://[^)]+\)')
# the last one has no comma where it is `**kwargs`
_PARAMETER = re.compile(r'    (?P<code>\*{0,2}\w+.*?|/|\*),?(?: # ?(?P<help>.*))?$')
_LAST = re.compile(r'\)(?P<returns>->.*?)?:(?: # ?(?P<help>.*))?$')
_SOURCE = re.compile(r'(?<=\[source\]\()([^)\s]+?/blob/\w+/)(leukocls/[\w/]+)\.py(?:#L\d+)?')
_HEADING = re.compile(r'^#{2,} (.+)$', re.M)
# `=Limits(body=64000000, …)`: a default whose fields have a table of their own
_MADE = re.compile(r'=([A-Z]\w*)\(\w+=.*\)$')


def _without_links(code):
    return _LINK.sub(r'\1', code)


def _in_a_cell(text):
    "Text that does not end a cell of a Markdown table."
    return text.strip().replace('|', r'\|')


def _plain_type(code):
    "A type that repeats the default, its module, and a default's own fields are left out."
    code = code.replace(':NoneType=', '=').replace(':Annotated', '')
    return _MADE.sub(r'=\1()', re.sub(r'\bleukocls(\.\w+)*\.(?=[A-Z])', '', code))


def _rejoined(lines):
    "Long comments are wrapped by `show_doc`; a line that is no parameter goes on with the last one."
    out = []
    for line in lines:
        starts = line.startswith(('    ', 'def ', 'class ', ')'))
        if starts or not out:
            out.append(line)
        else:
            out[-1] += ' ' + line.strip()
    return out


def table_of_parameters(
    signature,  # Lines of `def name(`, a parameter each with its comment, `)->type: # comment`
):  # (signature as code without comments, Markdown table; empty if nothing is commented)
    "Take a signature and its comments apart."
    lines = _rejoined(signature.splitlines())
    first, inside, last = lines[0], lines[1:-1], lines[-1]
    end, parameters = _LAST.match(last), [_PARAMETER.match(line) for line in inside]
    if end is None or not all(parameters):
        return _without_links(signature), ''
    codes = [_plain_type(_without_links(m['code'])) for m in parameters]
    code = '\n'.join([first, *(f'    {c},' for c in codes), f"){end['returns'] or ''}"])
    rows = [
        (f'`{re.split("[:=]", c)[0]}`', m['help']) for c, m in zip(codes, parameters) if m['help']
    ]
    if end['help']:
        rows.append(('*returns*', end['help']))
    if not rows:
        return _without_links(signature), ''
    lines = [f'| {name} | {_in_a_cell(text)} |' for name, text in rows]
    return code, '\n'.join(['| Parameter | What it is |', '|:---|:---|', *lines])


def _documented(
    text,  # What `show_doc` wrote
    module,  # Name of the page's module; by default that of the link called “source”
):  # what it is about; None if that is not of this package
    source, heading = _SOURCE.search(text), _HEADING.search(text)
    if not (source and heading):
        return None
    try:
        module = importlib.import_module(module or source[2].replace('/', '.'))
        return reduce(getattr, heading[1].split('.'), module)
    except (ImportError, AttributeError):
        return None


def _with_source(text, thing):
    "nbdev looks a name up in all modules; where two have it, the link must lead to this one."
    code = inspect.unwrap(thing) if callable(thing) else None
    if not getattr(code, '__module__', '').startswith('leukocls.'):
        return text
    path, line = code.__module__.replace('.', '/'), inspect.getsourcelines(code)[1]
    return _SOURCE.sub(rf'\g<1>{path}.py#L{line}', text, count=1)


def _of_a_command(parameter):
    "What `--help` says of an option: the option as it is typed, and its help."
    if get_origin(parameter.annotation) is not Annotated:
        return None
    info = get_args(parameter.annotation)[1]
    typed = info.default if str(info.default).startswith('-') else None
    if type(info).__name__ == 'OptionInfo':
        typed = typed or '--' + parameter.name.replace('_', '-')
    return f'`{typed}`: {info.help}' if typed else info.help


def _shown_type(annotation):
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is inspect.Parameter.empty:
        return ''
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return ':' + re.sub(r'\b[a-z]\w*\.', '', name)


def _shown_default(default):
    if default is inspect.Parameter.empty:
        return ''
    return '=' + re.sub(r'^\w+Path\(', 'Path(', _plain_type(repr(default)))


def _as_lines(name, signature, helps):
    "A signature as `show_doc` writes it where every parameter has a comment."
    lines = [
        f'    {p.name}{_shown_type(p.annotation)}{_shown_default(p.default)},'
        f' # {" ".join((helps.get(p.name) or "").split())}'
        for p in signature.parameters.values()
    ]
    return '\n'.join([f'def {name}(', *lines, '):'])


def _inherited(thing):
    "The class outside this package whose constructor a class takes over; None if it has its own."
    if not isinstance(thing, type) or dataclasses.is_dataclass(thing):
        return None
    for base in thing.__mro__:
        if not base.__module__.startswith('leukocls.'):
            return base
        if '__init__' in vars(base):
            return None


def _fuller(signature, thing):
    "A signature with the help that `show_doc` does not look for: of commands, fields, parents."
    if thing is None:
        return signature
    name = getattr(thing, '__name__', '')
    parent = _inherited(thing)
    if parent not in (None, object):
        package = parent.__module__.split('.')[0]
        return f"def {name}(\n    **others, # What {package}'s `{parent.__name__}` takes\n):"
    if dataclasses.is_dataclass(thing):
        helps = {}
        for base in filter(dataclasses.is_dataclass, reversed(thing.__mro__)):
            helps.update({n: text for n, text in docments(base).items() if text})
        return _as_lines(name, inspect.signature(thing), helps)
    if ':Annotated' in signature:
        found, comments = inspect.signature(thing), docments(thing)
        helps = {n: _of_a_command(p) or comments.get(n) for n, p in found.parameters.items()}
        return _as_lines(name, found, helps)
    return signature


# `show_doc` sets the docstring's first line in italics, even where a sentence goes on
_CUT_SENTENCE = re.compile(r'^\*(.*[^.!?:])\*\n(?=\S)', re.M)


def _readable(text, module=None):
    "What `show_doc` wrote, with the signature's comments in a table below the docstring."
    thing = _documented(text, module)
    text = _CUT_SENTENCE.sub(r'\1\n', _with_source(text, thing))
    found = _SIGNATURE.search(text)
    if found is None:
        return text
    code, table = table_of_parameters(_fuller(found[1], thing))
    before, after = text[: found.start()], text[found.end() :]
    return f'{before}```python\n{code}\n```{after}' + (f'\n\n{table}\n' if table else '')


def readable_signatures(
    cell,  # Processed by nbdev, with its outputs
    module=None,  # Name of the page's module
):
    "Every signature of a cell's outputs as code and table."
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        text = ''.join(data.get('text/markdown', ''))
        if '[source](' in text:
            data['text/markdown'] = _readable(text, module).splitlines(keepends=True)


def _signature(thing, **how):
    """The signature of a function or class. pandas names types that stand there for type checkers
    alone: whoever asks for them gets a `NameError`, unless something else has put them there.
    """
    try:
        return inspect.signature(thing, **how)
    except NameError:
        return inspect.signature(thing)


class ReadableSignatures:
    "A processor of nbdev: `readable_signatures` of each cell of a page."

    def __init__(self, nb):
        # `show_doc` takes it from there
        importlib.import_module('fastcore.docments').signature = _signature
        named = [cell.directives_.get('default_exp') for cell in nb.cells if cell.directives_]
        self.module = next((f'leukocls.{words[0]}' for words in named if words), None)
        # what torch says to its own developers when a page imports it would stand in that page
        warnings.filterwarnings('ignore', category=FutureWarning, module='torch')

    def __call__(self, cell):
        readable_signatures(cell, self.module)


def without_plots(
    folder,  # Folder of a lesson that is not about reports
):
    "Write the reports of runs below a folder without plots, which would take most of a lesson's time."
    from leukocls.report import page

    draw, folder = page._plots, Path(folder).resolve()

    def plots(run):
        return {} if run.folder.resolve().is_relative_to(folder) else draw(run)

    page._plots = plots


def show_table(
    frame,  # DataFrame
):
    "Show a table as Markdown: README and the pages of the site read it alike."
    from IPython.display import Markdown, display

    def cell(value):
        return '–' if value is None or value != value else _in_a_cell(str(value))

    rows = [frame.columns.astype(str), *frame.to_numpy(dtype=object)]
    lines = ['| ' + ' | '.join(map(cell, row)) + ' |' for row in rows]
    lines.insert(1, '|' + '---|' * len(frame.columns))
    display(Markdown('\n'.join(lines)))
