"sdist and wheel: they can be built, hold what is needed, and install without a network."

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = (
    # setuptools writes over sys.argv
    'import sys; out = sys.argv[1]; from setuptools import build_meta;'
    'build_meta.build_sdist(out); build_meta.build_wheel(out)'
)


def run(*command, **how):
    done = subprocess.run(command, capture_output=True, text=True, **how)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def copy_of_the_checkout(folder):
    "What git knows of: nothing that was built here before."
    names = run('git', 'ls-files', '-z', cwd=ROOT).split('\0')
    for name in filter(None, names):
        if (ROOT / name).is_file() and name.startswith(('leukocls/', 'setup', 'pyproject', 'set')):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ('README.md', 'LICENSE', 'MANIFEST.in', 'CHANGELOG.md'):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "Folder with the sdist and the wheel of the checkout."
    checkout = copy_of_the_checkout(tmp_path_factory.mktemp('checkout'))
    out = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-W', 'ignore', '-c', BUILD, str(out), cwd=checkout)
    return out


def members(built):
    "Files of the package in the wheel, and in the sdist."
    (wheel,), (sdist,) = built.glob('*.whl'), built.glob('*.tar.gz')
    with zipfile.ZipFile(wheel) as files:
        inside = {name for name in files.namelist() if name.startswith('leukocls/')}
    with tarfile.open(sdist) as files:
        paths = {name.split('/', 1)[1] for name in files.getnames() if '/' in name}
    return inside, paths


@pytest.mark.slow
def test_wheel_and_sdist_hold_every_file_of_the_package(built):
    wheel, sdist = members(built)
    names = run('git', 'ls-files', '-z', 'leukocls', cwd=ROOT).split('\0')
    package = {name for name in names if name and (ROOT / name).is_file()}
    assert package <= wheel, package - wheel
    assert package <= sdist and {'settings.ini', 'setup.py', 'README.md'} <= sdist


@pytest.mark.slow
def test_wheel_installs_without_a_network(built, tmp_path):
    "`--no-index` into a fresh environment; what needs no dependency works there."
    venv.create(tmp_path / 'fresh', with_pip=True)
    python = tmp_path / 'fresh' / ('Scripts' if sys.platform == 'win32' else 'bin') / 'python'
    install = ['-m', 'pip', 'install', '-q', '--no-index', '--no-deps', '--no-compile']
    run(str(python), *install, '--find-links', str(built), 'leukocls')
    said = run(
        str(python),
        '-c',
        'import importlib.metadata as m, leukocls; print(leukocls.__version__, m.version("leukocls"))',
        cwd=tmp_path,
    )
    settings = (ROOT / 'settings.ini').read_text(encoding='utf8')
    version = said.split()[0]
    assert said.split() == [version, version] and f'version = {version}\n' in settings


@pytest.mark.slow
def test_links_of_the_description_lead_out_of_the_index(built):
    "PyPI shows README, and has no folder nbs."
    (wheel,) = built.glob('*.whl')
    with zipfile.ZipFile(wheel) as files:
        name = next(n for n in files.namelist() if n.endswith('.dist-info/METADATA'))
        text = files.read(name).decode()
    assert '](nbs/' not in text
    assert '](https://github.com/leukocls/leukocls/raw/main/nbs/images/report.png)' in text
    assert '](https://github.com/leukocls/leukocls/blob/main/nbs/guides/' in text


@pytest.fixture
def release():
    import importlib.util

    spec = importlib.util.spec_from_file_location('release', ROOT / '.ci/release.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def state(folder, version='1.2.3', cited='1.2.3', section='1.2.3', package='1.2.3'):
    (folder / 'leukocls').mkdir()
    (folder / 'settings.ini').write_text(f'[DEFAULT]\nversion = {version}\n')
    (folder / 'leukocls/__init__.py').write_text(f'__version__ = "{package}"\n')
    (folder / 'CITATION.cff').write_text(f'title: a\nversion: {cited}\n')
    (folder / 'CHANGELOG.md').write_text(f'# Changelog\n\n## [{section}]\n')
    return folder


def test_a_tag_that_fits_may_be_released(release, tmp_path):
    assert release.faults_of('v1.2.3', state(tmp_path)) == []


@pytest.mark.parametrize(
    'tag, change, words',
    [
        ('v1.2.4', {}, 'settings.ini says 1.2.3'),
        ('1.2.3', {}, 'tag v1.2.3'),
        ('v1.2.3', dict(cited='1.2.2'), 'CITATION.cff'),
        ('v1.2.3', dict(section='Unreleased'), 'CHANGELOG.md has no section'),
        ('v1.2.3', dict(package='1.2.2'), 'run nbdev_export'),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(release, tmp_path, tag, change, words):
    (fault,) = release.faults_of(tag, state(tmp_path, **change))
    assert words in fault


def test_the_release_workflow_asks_before_it_publishes():
    import yaml

    text = (ROOT / '.github/workflows/release.yml').read_text(encoding='utf8')
    jobs = yaml.safe_load(text)['jobs']
    commands = [step.get('run', '') for step in jobs['build']['steps']]
    assert commands.index('python .ci/release.py "$GITHUB_REF_NAME"') < commands.index(
        'python -m build'
    )
    assert jobs['publish']['needs'] == 'build'
    assert jobs['publish']['permissions'] == {'id-token': 'write'}
