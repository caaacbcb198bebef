"Everything that is packaged is said in settings.ini; this file only reads it."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=['='])
cfg.read(Path(__file__).parent / 'settings.ini', encoding='utf8')
cfg = dict(cfg['DEFAULT'])
pythons = [f'3.{minor}' for minor in range(10, 14)]
licenses = {'apache2': ('Apache-2.0', 'License :: OSI Approved :: Apache Software License')}
statuses = {'3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
suffix = '_requirements'
extras = {key[: -len(suffix)]: value.split() for key, value in cfg.items() if key.endswith(suffix)}
extras['all'] = sorted({need for name, needs in extras.items() if name != 'dev' for need in needs})
extras['dev'] += extras['all']  # every test runs there


def description():
    "README, with links that lead somewhere from the package index too."
    path, site = Path(__file__).with_name('README.md'), cfg['git_url']
    text = path.read_text(encoding='utf8') if path.exists() else ''
    text = text.replace('](nbs/images/', f"]({site}/raw/{cfg['branch']}/nbs/images/")
    return text.replace('](nbs/', f"]({site}/blob/{cfg['branch']}/nbs/")


setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    keywords=cfg['keywords'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license=licenses[cfg['license']][0],
    classifiers=[
        f"Development Status :: {statuses[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        licenses[cfg['license']][1],
        f"Natural Language :: {cfg['language']}",
    ]
    + [f'Programming Language :: Python :: {python}' for python in pythons],
    packages=find_packages(include=['leukocls', 'leukocls.*']),
    include_package_data=True,
    zip_safe=False,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    long_description=description(),
    long_description_content_type='text/markdown',
)
