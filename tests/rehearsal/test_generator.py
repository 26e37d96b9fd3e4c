"""Generation with a real, tiny model: alone or together, to the last position, and the end mark."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError, GenerationError
from lrps.data.data_tokenizer import open_tokenizer
from lrps.export.release import write_tokenizer
from lrps.rehearsal.generator import Completion, HfGenerator, chat_template_sha256, document_end, load_model
from lrps.rehearsal.sampling import Sampling
from support.rehearsal_models import save_model, tiny_model
from support.tokenizers import family_file

WARM = Sampling(12, temperature=1.0, top_p=0.9, repetition_penalty=1.1)


@pytest.fixture(scope="module")
def generator(base_model: Path) -> HfGenerator:
    return HfGenerator(base_model, batch_size=4)


def by_hand(generator: HfGenerator, prompt: str, count: int) -> list[int]:
    """Greedy, without batch, cache or padding."""
    ids = generator._tokenizer(prompt)["input_ids"]
    new: list[int] = []
    while len(new) < count:
        logits = generator.model(torch.tensor([[*ids, *new]])).logits[0, -1]
        new.append(int(logits.argmax()))
        if new[-1] == 0:
            break
    return new


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.text("abc é", max_size=30), st.integers(0, 9)), min_size=1, max_size=6))
def test_a_completion_does_not_depend_on_its_neighbours(generator: HfGenerator, asked: list[tuple[str, int]]) -> None:
    prompts, seeds = zip(*asked, strict=True)
    together = generator.generate(prompts, WARM, seeds)
    assert together == [generator.generate([prompt], WARM, [seed])[0] for prompt, seed in asked]


def test_greedy_is_the_most_likely_token(generator: HfGenerator) -> None:
    prompts = ["a", "a longer prompt", "xyz" * 9]
    for prompt, found in zip(prompts, generator.generate(prompts, Sampling(10), [1, 2, 3]), strict=True):
        new = by_hand(generator, prompt, 10)
        assert found.ended == (new[-1] == 0)
        assert found.tokens == len(new) - found.ended
        assert found.text == generator._decode([*generator._encode(prompt), *new])[len(prompt) :]


def test_seeds_tell_samples_apart_and_greedy_ignores_them(generator: HfGenerator) -> None:
    warm = generator.generate(["once"] * 6, WARM, range(6))
    assert len({one.text for one in warm}) > 1
    assert len({one.text for one in generator.generate(["once"] * 6, Sampling(8), range(6))}) == 1


def test_completions_stop_at_the_last_position(generator: HfGenerator) -> None:
    """64 positions; a prompt that is near the end does not shorten its neighbours."""
    prompts = ["x" * 60, "x" * 63, "ab", "x" * 60]
    found = generator.generate(prompts, replace(WARM, max_new_tokens=40), [1, 2, 3, 1])
    assert [one.tokens for one in found if not one.ended and one.tokens < 40] == [
        one.tokens for one in (found[0], found[1], found[3]) if not one.ended
    ]
    assert found[0] == found[3]
    assert found[0].tokens <= 4
    assert found[1].tokens <= 1
    assert found[2] == generator.generate(["ab"], replace(WARM, max_new_tokens=40), [3])[0]


def test_learned_positions_are_never_left(tmp_path: Path) -> None:
    """GPT-2 looks its positions up in a table: one beyond it is an error."""
    shape = {"model_type": "gpt2", "vocab_size": 257, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
    generator = HfGenerator(save_model(tmp_path / "gpt2", tiny_model(3, plain=shape)), batch_size=3)
    assert generator.positions == 16
    found = generator.generate(["abcdefghijklmno", "a", "abcdefgh"], Sampling(100), [0, 0, 0])
    assert [one.tokens for one in found if not one.ended] == [
        room for room, one in zip((1, 15, 8), found, strict=True) if not one.ended
    ]


def test_a_prompt_without_room_is_refused(generator: HfGenerator) -> None:
    with pytest.raises(GenerationError, match=r"a prompt of 64 tokens leaves none of the 64 positions"):
        generator.generate(["fine", "x" * 64], WARM, [0, 0])


def test_the_end_mark_ends_a_completion(tmp_path: Path) -> None:
    """A model that says the end mark and nothing else."""
    model = tiny_model(1, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    generator = HfGenerator(save_model(tmp_path / "silent", model), batch_size=2)
    assert generator.generate(["say", "something"], Sampling(5), [0, 0]) == [Completion("", 0, True)] * 2


def test_an_empty_prompt_begins_a_document(generator: HfGenerator) -> None:
    mark = document_end(generator._directory)
    assert mark == "<|endoftext|>"
    assert generator.generate([""], WARM, [4]) == generator.generate([mark], WARM, [4])


def test_what_is_missing_is_named(base_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no directory; give the local directory"):
        load_model(tmp_path / "nowhere", torch.device("cpu"))
    (tmp_path / "config.json").write_text((base_model / "config.json").read_text())
    with pytest.raises(ConfigError, match="has no model.safetensors"):
        load_model(tmp_path, torch.device("cpu"))


def test_prompts_need_their_seeds(generator: HfGenerator) -> None:
    with pytest.raises(ValueError, match="2 prompts, but 1 seeds"):
        generator.generate(["a", "b"], WARM, [0])


def test_a_bos_token_follows_the_eos_token_between_documents(tmp_path: Path) -> None:
    """Only if the model's tokenizer has the BOS token of the data."""
    path = family_file(tmp_path / "t.json", "byte BPE")
    write_tokenizer(open_tokenizer(path, begin_token="<s>"), tmp_path, row_tokens=64)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert [document_end(tmp_path, begin) for begin in (None, "<s>", "<bos>")] == ["</s>", "</s><s>", "</s>"]


def test_a_text_that_stops_ends_a_completion_before_it(generator: HfGenerator) -> None:
    """As if it were cut there afterwards, whatever the neighbours do."""
    prompts, seeds = ["once", "upon", "a time", "x"] * 2, range(8)
    free = generator.generate(prompts, WARM, seeds)
    stop = (free[0].text[3:5], free[5].text[4:6])
    for found, whole in zip(generator.generate(prompts, replace(WARM, stop=stop), seeds), free, strict=True):
        places = [place for one in stop if (place := whole.text.find(one)) >= 0]
        assert found.text == whole.text[: min(places, default=None)]
        assert found.tokens <= whole.tokens
        assert found.ended == (whole.ended or bool(places))
    assert generator.generate(["once"], replace(WARM, stop=stop), [0])[0].tokens < free[0].tokens


def test_a_chat_template_makes_the_prompt(base_model: Path, tmp_path: Path) -> None:
    shutil.copytree(base_model, tmp_path / "chat")
    with pytest.raises(ConfigError, match="has no chat template.*leave synthesis.chat out"):
        HfGenerator(tmp_path / "chat", 2, chat=True)
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"
    )
    (tmp_path / "chat" / "chat_template.jinja").write_text(template)
    asked = HfGenerator(tmp_path / "chat", 2, chat=True).generate(["once"], WARM, [3])
    assert asked == HfGenerator(base_model, 2).generate(["<user>once!"], WARM, [3])
    assert chat_template_sha256(tmp_path / "chat") == hashlib.sha256(template.encode()).hexdigest()
