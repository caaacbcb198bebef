"""README.md from nbs/index.ipynb, without Quarto.

python .ci/readme.py            # write README.md
python .ci/readme.py --check    # exit 1 if README.md is not what it would be
"""

import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def flags(source):
    return [l.split('|', 1)[1].strip() for l in source.splitlines() if l.startswith('#|')]


def output(o):
    "One output as Markdown: a table or text; pictures stay in the notebook."
    data = o.get('data', {})
    if 'text/markdown' in data:
        return ''.join(data['text/markdown']).strip()
    text = ''.join(data.get('text/plain', o.get('text', []))).rstrip()
    return (
        '' if not text or 'image/png' in data or o.get('name') == 'stderr' else f'```\n{text}\n```'
    )


def from_the_root(text):
    "Links of a page, which start in nbs/, as links of README.md."
    return re.sub(r'\]\((?!\w+:|#|/)([^)\s]+)', r'](nbs/\1', text)


def readme():
    parts = []
    for cell in json.loads((root / 'nbs/index.ipynb').read_text(encoding='utf8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            parts.append(from_the_root(source))
            continue
        said = flags(source)
        if 'hide' in said:
            continue
        code = '\n'.join(l for l in source.splitlines() if not l.startswith('#|')).strip()
        if 'echo: false' not in said:
            parts.append(f'```python\n{code}\n```')
        parts += [o for o in map(output, cell.get('outputs', [])) if o]
    return (
        '<!-- Made from nbs/index.ipynb by .ci/readme.py; edit the notebook. -->\n\n'
        + '\n\n'.join(parts)
        + '\n'
    )


if __name__ == '__main__':
    path, text = root / 'README.md', readme()
    if '--check' in sys.argv:
        if path.read_text(encoding='utf8') != text:
            sys.exit('README.md is not what nbs/index.ipynb says. Run: python .ci/readme.py')
    else:
        path.write_text(text, encoding='utf8')
