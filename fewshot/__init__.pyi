from fewshot import datasets as datasets
from fewshot.classifier import Classifier as Classifier
from fewshot.errors import FewshotError as FewshotError
from fewshot.errors import FewshotWarning as FewshotWarning
from fewshot.errors import InputError as InputError
from fewshot.errors import LabelMassWarning as LabelMassWarning
from fewshot.errors import ModelLoadError as ModelLoadError
from fewshot.errors import NoAnswerWarning as NoAnswerWarning
from fewshot.errors import PromptTooLongError as PromptTooLongError
from fewshot.errors import ShortenedWarning as ShortenedWarning
from fewshot.errors import TemplateError as TemplateError
from fewshot.errors import UnsupportedError as UnsupportedError
from fewshot.errors import VerbalizerError as VerbalizerError
from fewshot.models.causal import CausalLM as CausalLM
from fewshot.models.encoder import SentenceEncoder as SentenceEncoder
from fewshot.models.entailment import EntailmentLM as EntailmentLM
from fewshot.models.fake import FakeLM as FakeLM
from fewshot.models.loading import load as load
from fewshot.models.masked import MaskedLM as MaskedLM
from fewshot.models.seq2seq import Seq2SeqLM as Seq2SeqLM
from fewshot.strategies.auto import Auto as Auto
from fewshot.strategies.embedding import Embedding as Embedding
from fewshot.strategies.prompting import Prompting as Prompting
from fewshot.task import gallery as gallery
from fewshot.task.template import Template as Template
from fewshot.task.verbalizer import Verbalizer as Verbalizer

__version__: str
