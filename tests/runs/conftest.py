"What the tests of runs share: runs that an older state of the library stored."

import tarfile

import pytest


@pytest.fixture(scope='session')
def stored(root, tmp_path_factory):
    "The folder of what was stored: films, runs, predictions and standings of that time."
    folder = tmp_path_factory.mktemp('stored')
    for archive in sorted((root / 'tests' / 'stored').glob('runs-*.tar.xz')):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter='data')
    return folder / 'stored'
