"""How the documentation shows a function: its signature as code, its parameters as a table. Written
by hand; nbdev finds it through `procs` in settings.ini, nothing at run time needs it."""

import re

_SIGNATURE = re.compile(r'```python\n(def .*?|class .*?)\n```', re.S)
_LINK = re.compile(r'\[(`[^`]+`)\]\(https?://[^)]+\)')
_PARAMETER = re.compile(r'    (?P<code>\*{0,2}\w+.*?|/|\*),(?: # ?(?P<help>.*))?$')
_LAST = re.compile(r'\)(?P<returns>->.*?)?:(?: # ?(?P<help>.*))?$')


def _without_links(code):
    return _LINK.sub(r'\1', code)


def _in_a_cell(text):
    "Text that does not end a cell of a Markdown table."
    return text.strip().replace('|', r'\|')


def _plain_type(code):
    "A type that only repeats the default says nothing."
    return code.replace(':NoneType=', '=').replace(':Annotated', '')


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
        return code, ''
    lines = [f'| {name} | {_in_a_cell(text)} |' for name, text in rows]
    return code, '\n'.join(['| Parameter | What it is |', '|:---|:---|', *lines])


# `show_doc` sets the docstring's first line in italics, even where a sentence goes on
_CUT_SENTENCE = re.compile(r'^\*(.*[^.!?:])\*\n(?=\S)', re.M)


def _readable(text):
    "What `show_doc` wrote, with the signature's comments in a table below the docstring."
    text = _CUT_SENTENCE.sub(r'\1\n', text)
    found = _SIGNATURE.search(text)
    if found is None:
        return text
    code, table = table_of_parameters(found[1])
    before, after = text[: found.start()], text[found.end() :]
    return f'{before}```python\n{code}\n```{after}' + (f'\n\n{table}\n' if table else '')


def readable_signatures(
    cell,  # Processed by nbdev, with its outputs
):
    "A processor of nbdev: every signature of a cell's outputs as code and table."
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        text = ''.join(data.get('text/markdown', ''))
        if '[source](' in text:
            data['text/markdown'] = _readable(text).splitlines(keepends=True)


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
