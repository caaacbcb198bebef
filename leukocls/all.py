"""Everything a notebook needs after `from leukocls.all import *`: leukocls, and fastai's vision names beneath it."""
from fastai.vision.all import *

from leukocls.augment import *
from leukocls.cards import *
from leukocls.core import *
from leukocls.data import *
from leukocls.engines import *
from leukocls.fit import *
from leukocls.images import *
from leukocls.loaders import *
from leukocls.memory import *
from leukocls.metrics import *
from leukocls.models import *
from leukocls.networks import *
from leukocls.predict import *
from leukocls.probe import *
from leukocls.recipes import *
from leukocls.report import *
from leukocls.runs import *
from leukocls.smears import *
from leukocls.splits import *
from leukocls.train import *
