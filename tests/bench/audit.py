"""What the audit finds on the real data sets, and how long it takes, images read for the first time
in the process.

python tests/bench/audit.py --data FOLDER_OR_MANIFEST [--data …] --out results/audit.csv
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd

os.environ['LEUKOCLS_CACHE'] = 'off'
from leukocls.audit.findings import audit

if __name__ == '__main__':
    a = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    a.add_argument('--data', action='append', required=True)
    a.add_argument('--out', required=True)
    o = a.parse_args()
    rows = []
    shown = ' '.join(
        [
            'python tests/bench/audit.py',
            *(f'--data {Path(d).name}' for d in o.data),
            f'--out {o.out}',
        ]
    )
    for data in o.data:
        t = time.perf_counter()
        d = audit(data, progress=False).data
        took = time.perf_counter() - t
        found = dict(
            images=d['n'],
            seconds=round(took, 1),
            exact_duplicate_groups=len(d['exact_duplicates']),
            files_in_them=sum(map(len, d['exact_duplicates'])),
            near_duplicate_groups=len(d['near_duplicates']),
            images_in_them=sum(map(len, d['near_duplicates'])),
            groups_across_classes=len(d['across_labels']),
        )
        for k, v in d['shortcuts'].items():
            found[f'{k} alone, honest folds'] = round(v['accuracy'], 4)
            found[f'{k} alone, random folds'] = round(v['random'], 4)
        for l in d['leaks']:
            found[f"{l['kind']} in both {' and '.join(l['between'])}"] = l['n']
        if d['patients'].get('ids'):
            found |= {
                'patient ids': d['patients']['ids'],
                'people after merging': d['patients']['n'],
                'merged ids': '; '.join(' = '.join(m) for m in d['patients']['merged']),
            }
        for k, v in found.items():
            rows.append(
                dict(data=Path(data).name, what=k, value=v, cores=os.cpu_count(), command=shown)
            )
            print(rows[-1]['data'], k, v, flush=True)
    pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
    print(o.out, file=sys.stderr)
