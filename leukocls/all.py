"""Everything a notebook needs after `from leukocls.all import *`: leukocls, and fastai's vision names beneath it."""
from fastai.vision.all import *

from leukocls.augment import *
from leukocls.cards import *
from leukocls.core import *
from leukocls.data import *
from leukocls.images import *
from leukocls.metrics import *
from leukocls.models import *
from leukocls.predict import *
from leukocls.recipes import *
from leukocls.report import *
from leukocls.smears import *
from leukocls.splits import *
from leukocls.train import *
