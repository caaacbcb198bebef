"memory.py's side in a process of its own: predicts N images into a table, prints its peak in MB."

import itertools
import resource
import sys

from leukocls.data import read_table
from leukocls.loaders import CellDataLoaders
from leukocls.models import cell_learner
from leukocls.predict import predict_to
from leukocls.splits import split_table

data, weights, n, out = sys.argv[1:]
table = split_table(read_table(data))
dls = CellDataLoaders.from_table(table, device='cpu')
learn = cell_learner(dls, 'mobilenetv2_100', weights, fp16=False)
predict_to(learn, itertools.islice(itertools.cycle(table.path), int(n)), out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
