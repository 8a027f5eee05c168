"""Text to token shards: sources, deduplication, split, tokenizer, shuffled stream, and the batches that runs read."""

from pdstudy.corpus.build import build
from pdstudy.corpus.stream import TokenStream
from pdstudy.corpus.token_corpus import TokenCorpus, open_corpus

__all__ = ["TokenCorpus", "TokenStream", "build", "open_corpus"]
