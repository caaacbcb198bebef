"""Whether a tag may become a release; says what is in the way.

python .ci/release.py v0.1.0    # exit 1, with a line for each fault
"""

import re
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def text_of(name, root):
    return (root / name).read_text(encoding='utf8')


def faults_of(tag, root=ROOT):
    "What differs from the tag: settings.ini, the package, CITATION.cff, CHANGELOG.md."
    settings = ConfigParser(delimiters=['='])
    settings.read(root / 'settings.ini', encoding='utf8')
    version = settings['DEFAULT']['version']
    faults = []
    if tag != f'v{version}':
        faults.append(f'The tag is {tag}, and settings.ini says {version}: tag v{version}.')
    if f"__version__ = '{version}'" not in text_of('leukocls/__init__.py', root).replace('"', "'"):
        faults.append(f'leukocls/__init__.py is not of version {version}: run nbdev_export.')
    if not re.search(rf'^version: {re.escape(version)}$', text_of('CITATION.cff', root), re.M):
        faults.append(f'CITATION.cff is not of version {version}.')
    if not re.search(rf'^## \[{re.escape(version)}\]', text_of('CHANGELOG.md', root), re.M):
        faults.append(f'CHANGELOG.md has no section [{version}].')
    return faults


if __name__ == '__main__':
    faults = faults_of(sys.argv[1])
    sys.exit('\n'.join(faults) if faults else 0)
