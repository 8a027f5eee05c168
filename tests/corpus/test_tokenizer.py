"""Tokens stand for the text exactly, whatever the text."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from pdstudy.config.data import Corpus, PretrainedTokenizer
from pdstudy.core.errors import ConfigError
from pdstudy.corpus import TokenCorpus, build, open_corpus
from pdstudy.corpus.tokenizer import EOS, Encoder, train_bpe
from pdstudy.corpus.word_cache import word_cache

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def encoder(standard: TokenCorpus) -> Encoder:
    return Encoder(standard.tokenizer_dir)


@given(text=TEXT)
@example(text=f"a {EOS} b{EOS}")
@example(text="\x00\ufeff\r\n \u2028  ’’ 𝔘\t")
def test_round_trip_and_bytes_are_exact(encoder: Encoder, standard: TokenCorpus, text: str) -> None:
    (ids,) = encoder.encode([text])
    assert encoder.decode(ids.tolist()) == text
    assert int(standard.token_bytes[ids].sum()) == len(text.encode())
    # One end, at the end, even where the text names the token.
    assert np.flatnonzero(ids == standard.eos).tolist() == [len(ids) - 1]


PARTS = st.sampled_from(
    [*(chr(n) for n in range(128)), "  ", " a", "'s", "'ll", "’", "é", "\u00a0", "\u2028", "١", "²", "中", "\x85", EOS]
)


@given(text=st.lists(PARTS, max_size=30).map("".join))
@example(text="don’t  stop \u00a0 now\n\n  at 1st '' 'sa")
@example(text="the  other   way\n\n    is none")
def test_words_have_the_ids_that_the_tokenizer_gives_the_text(
    encoder: Encoder, standard: TokenCorpus, text: str
) -> None:
    plain = Tokenizer.from_file(str(standard.tokenizer_dir / "tokenizer.json"))
    plain.encode_special_tokens = True
    assert encoder.encode([text])[0].tolist() == [*plain.encode(text, add_special_tokens=False).ids, encoder.eos]
    assert encoder._words is not None


@given(text=TEXT)
def test_words_of_any_text(encoder: Encoder, standard: TokenCorpus, text: str) -> None:
    plain = encoder._tokenizer.encode(text, add_special_tokens=False).ids
    assert encoder.encode([text])[0].tolist() == [*plain, encoder.eos]


def test_tokenizers_that_cut_otherwise_have_no_cache_of_words() -> None:
    assert word_cache(sentencepiece_like()) is None
    assert word_cache(neox_like()) is None  # its runs of spaces are tokens before any cut
    prefixed = neox_like()
    prefixed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert word_cache(prefixed) is None


def test_the_stream_is_the_documents(standard: TokenCorpus, encoder: Encoder) -> None:
    for split, facts in standard.manifest["splits"].items():
        stream = standard.stream(split)
        ids = stream.tokens(0, len(stream))
        starts = stream.document_starts(0, len(stream))
        assert len(starts) == facts["documents"] == (ids == standard.eos).sum()
        assert np.array_equal(starts[1:], np.flatnonzero(ids == standard.eos)[:-1] + 1)
        assert int(standard.token_bytes[ids].sum()) == facts["bytes"] == facts["token_bytes"]
        assert ids.max() < standard.vocab


def test_transformers_loads_it(standard: TokenCorpus) -> None:
    tokenizer = AutoTokenizer.from_pretrained(standard.tokenizer_dir)
    assert len(tokenizer) == standard.vocab == 600
    assert tokenizer.eos_token_id == standard.eos
    text = "def f(x):\n    return x  # ü, naïve , isn't\n"
    (ids,) = Encoder(standard.tokenizer_dir).encode([text])
    assert tokenizer.encode(text) == ids[:-1].tolist()  # nothing is added to a prompt
    assert tokenizer.decode(ids[:-1]) == text
    assert tokenizer.decode(ids) == text + EOS
    assert tokenizer.model_max_length > 10**9


@pytest.mark.integration
def test_training_is_deterministic_across_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pdstudy.corpus.tokenizer import train_bpe;"
        "texts = [p.read_text() for p in sorted(Path(sys.argv[1]).glob('*.py'))];"
        "train_bpe(iter(texts), 700, Path(sys.argv[2]))"
    )
    source = Path(json.__file__).parent
    for name, threads in (("a", "1"), ("b", "2")):
        command = [sys.executable, "-c", program, str(source), str(tmp_path / name)]
        subprocess.run(command, check=True, env={"RAYON_NUM_THREADS": threads, "PYTHONPATH": "."})
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_few_texts_give_a_smaller_vocabulary(tmp_path: Path) -> None:
    train_bpe(iter(["abab"]), 1000, tmp_path / "tokenizer")
    encoder = Encoder(tmp_path / "tokenizer")
    assert encoder.vocab == 259  # the end, 256 bytes, "ab", "abab"
    assert encoder.decode(encoder.encode(["ü"])[0].tolist()) == "ü"


def sentencepiece_like() -> Tokenizer:
    """As Llama 2's: spaces as "▁", unknown characters as bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special + alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat and the hat"], trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(state))


def neox_like() -> Tokenizer:
    """As GPT-NeoX's: byte-level, with runs of spaces as added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the hat"], trainer)
    tokenizer.add_tokens(["    ", "  "])
    return tokenizer


@pytest.mark.parametrize("make", [sentencepiece_like, neox_like])
def test_other_tokenizers_count_bytes_too(make: object, tmp_path: Path) -> None:
    make().save(str(tmp_path / "tokenizer.json"))  # type: ignore[operator]
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}}')
    encoder = Encoder(tmp_path)
    text = "the cat\n    ünd  𝔘 hat"
    (ids,) = encoder.encode([text])
    assert int(encoder.token_bytes()[ids].sum()) == len(text.encode())
    assert encoder.decode(ids.tolist()) == text


@pytest.mark.integration
def test_a_transformers_tokenizer_is_copied(standard: TokenCorpus, declared: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    AutoTokenizer.from_pretrained(standard.tokenizer_dir).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"no part of the tokenizer's identity")
    corpus = dataclasses.replace(declared, tokenizer=PretrainedTokenizer(path=str(folder)))
    build(corpus, tmp_path / "corpus")
    copied = open_corpus(tmp_path / "corpus")
    assert (copied.tokenizer_dir / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert not (copied.tokenizer_dir / "model.safetensors").exists()
    assert (copied.vocab, copied.eos) == (standard.vocab, standard.eos)
    assert np.array_equal(copied.token_bytes, standard.token_bytes)


def test_a_folder_without_end_or_tokenizer_is_refused(declared: Corpus, tmp_path: Path) -> None:
    neox_like().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match="names no eos_token in tokenizer_config"):
        Encoder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
    with pytest.raises(ConfigError, match="'<end>' is not in"):
        Encoder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    corpus = dataclasses.replace(declared, tokenizer=PretrainedTokenizer(path=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"a folder with a tokenizer.json"):
        build(corpus, tmp_path / "corpus")


def test_a_tokenizer_that_cuts_and_pads_does_neither_here(tmp_path: Path) -> None:
    """As folders of models have them: a document is all of its tokens and no others."""
    train_bpe(iter(["some words " * 20]), 300, tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", tmp_path / "cutting")
    tokenizer = Tokenizer.from_file(str(tmp_path / "cutting/tokenizer.json"))
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=64, pad_id=0)
    tokenizer.save(str(tmp_path / "cutting/tokenizer.json"))
    texts = ["a", "some words and others, many more than four"]
    plain, cutting = (Encoder(tmp_path / name).encode(texts) for name in ("plain", "cutting"))
    assert [ids.tolist() for ids in cutting] == [ids.tolist() for ids in plain]
    assert len(plain[1]) > 8


def test_a_vocabulary_with_gaps_reaches_to_its_largest_id(tmp_path: Path) -> None:
    """Ids are below `vocab`, however many there are: a model's head must have a row for the largest."""
    names = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {name: i for i, name in enumerate(names)} | {"ab": 400}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    (tmp_path / "gaps").mkdir()
    tokenizer.save(str(tmp_path / "gaps/tokenizer.json"))
    (tmp_path / "gaps/tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    encoder = Encoder(tmp_path / "gaps")
    assert encoder.vocab == 401
    assert encoder.encode(["ab"])[0].tolist() == [400, 0]
    sizes = encoder.token_bytes()
    assert (len(sizes), sizes[400], sizes[300]) == (401, 2, 0)
