"""From text to batches: sources, deduplication, split, tokenizer, shuffled token shards, and the batch of a step.

`build` makes a corpus and `open_corpus` reads it; `pdstudy.corpus.batch` says what a step reads. What a corpus is, is
declared in `pdstudy.config.data`; nothing here knows of models or teachers.
"""

from pdstudy.corpus.build import build as build
from pdstudy.corpus.stream import TokenStream as TokenStream
from pdstudy.corpus.token_corpus import TokenCorpus as TokenCorpus
from pdstudy.corpus.token_corpus import open_corpus as open_corpus
