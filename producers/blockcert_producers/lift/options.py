"""The options of a ``config.json``, each asked for by name, the unknown ones refused by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import NoReturn, TypeVar, cast

from blockcert.errors import Refusal
from blockcert.numbers import format_decimal

__all__ = ["WITHOUT_EFFECT", "Options", "parse_config"]

T = TypeVar("T")
_GREATEST_CONFIG = 1 << 20

# Options that cannot change the logits of an evaluation: names and versions, special tokens, storage types,
# dropout, caching, training and generation settings, the labels of classification heads, notes of other libraries.
WITHOUT_EFFECT = frozenset(
    (
        "_name_or_path",
        "architectures",
        "model_type",
        "transformers_version",
        "dtype",
        "torch_dtype",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "cls_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "bad_words_ids",
        "suppress_tokens",
        "begin_suppress_tokens",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "prefix",
        "tokenizer_class",
        "task_specific_params",
        "finetuning_task",
        "attention_dropout",
        "attn_pdrop",
        "embd_pdrop",
        "resid_pdrop",
        "hidden_dropout",
        "initializer_range",
        "gradient_checkpointing",
        "use_cache",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "return_dict_in_generate",
        "chunk_size_feed_forward",
        "torchscript",
        "use_bfloat16",
        "tf_legacy_loss",
        "pretraining_tp",
        "is_llama_config",
        "transformers.js_config",
        "problem_type",
        "id2label",
        "label2id",
        "num_labels",
        "_num_labels",
        "do_sample",
        "early_stopping",
        "max_length",
        "min_length",
        "num_beams",
        "num_beam_groups",
        "num_return_sequences",
        "diversity_penalty",
        "length_penalty",
        "repetition_penalty",
        "encoder_no_repeat_ngram_size",
        "no_repeat_ngram_size",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "exponential_decay_length_penalty",
        "remove_invalid_values",
        "summary_type",
        "summary_use_proj",
        "summary_activation",
        "summary_proj_to_labels",
        "summary_first_dropout",
    )
)


def parse_config(data: bytes, place: str) -> dict[str, object]:
    """The object in a ``config.json``; floats are parsed to binary64, as ``transformers`` does.

    Raises:
        Refusal: ``lift.config`` where it is not one JSON object in UTF-8, repeats a key, or holds NaN or
            infinity.
    """

    def refuse(sentence: str) -> NoReturn:
        raise Refusal("lift.config", place, sentence)

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            refuse(f"the key {json.dumps(twice)} stands twice in one object")
        return found

    def number(literal: str) -> float:
        value = float(literal)
        if value in (float("inf"), float("-inf")):
            refuse(f"the number {literal[:40]} is too large for binary64")
        return value

    def constant(literal: str) -> NoReturn:
        refuse(f"{literal} is not a JSON number")

    if len(data) > _GREATEST_CONFIG:
        refuse(f"it has {len(data)} bytes; a config has at most {_GREATEST_CONFIG}")
    try:
        text = data.decode("utf-8")
        value: object = json.loads(text, object_pairs_hook=pairs, parse_float=number, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        refuse(f"it is not JSON in UTF-8 ({str(error).splitlines()[0][:120]})")
    if not isinstance(value, dict):
        refuse("it is not a JSON object")
    return cast(dict[str, object], value)


class Options:
    """One JSON object of options. Every getter marks its option as known; ``finish`` refuses the rest."""

    def __init__(self, values: Mapping[str, object], place: str, path: str = "$") -> None:
        self._values = values
        self._place = place
        self._path = path
        self._known: set[str] = set()

    def refuse(self, name: str, sentence: str) -> NoReturn:
        """Raise ``lift.option`` at the option ``name``."""
        raise Refusal("lift.option", f"{self._place}: {self._path}.{name}", sentence)

    def _get(self, name: str) -> object:
        self._known.add(name)
        return self._values.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def given(self, name: str) -> bool:
        """Whether ``name`` stands in the object and is not null."""
        return self._values.get(name) is not None

    def integer(
        self, name: str, default: int | None = None, *, null: int | None = None, least: int = 1, most: int = 1 << 22
    ) -> int:
        """An integer from ``least`` to ``most``; absent means ``default``, which must then be given, and null means
        ``null`` where that is given, else as absent."""
        value = self._get(name)
        if value is None:
            found = null if null is not None and name in self._values else default
            if found is None:
                self.refuse(name, "this option is missing; the model's shape cannot be known without it")
            return found
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.refuse(name, f"{_show(value)} is not an integer from {least} to {most}")
        return value

    def integer_or_none(self, name: str, default: int | None) -> int | None:
        """As :meth:`integer`, but only absent means ``default``; null is None."""
        if name in self._values and self._get(name) is None:
            return None
        if default is None and name not in self._values:
            return None
        return self.integer(name, default)

    def number(self, name: str, default: str | None = None, *, zero: bool = False) -> str:
        """A positive number, or ``zero``, as the exact decimal of its shortest spelling (``1e-05`` is ``0.00001``)."""
        value = self._get(name)
        if value is None:
            if default is None:
                self.refuse(name, "this option is missing and has no default")
            return default
        return self._positive(name, value, zero=zero)

    def _positive(self, name: str, value: object, *, zero: bool) -> str:
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0 or (value == 0 and not zero):
            self.refuse(name, f"{_show(value)} is not a positive number{' or 0' if zero else ''}")
        return self.decimal(name, value)

    def decimal(self, name: str, value: float) -> str:
        """The exact decimal of the shortest spelling of ``value``, which follows from the option ``name``."""
        try:
            return format_decimal(Fraction(repr(value)))
        except Refusal:
            self.refuse(name, f"{_show(value)} has more digits than a program's decimals can hold")

    def flag(self, name: str, default: bool) -> bool:
        """A boolean; absent means ``default``."""
        value = self._get(name)
        if name not in self._values:
            return default
        if not isinstance(value, bool):
            self.refuse(name, f"{_show(value)} is not true or false")
        return value

    def choice(self, name: str, table: Mapping[str, T], default: T, *, refused: Mapping[str, str] | None = None) -> T:
        """``table``'s entry for a string; absent means ``default``; other strings are refused by name, those in
        ``refused`` with the reason that stands there."""
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, str) and refused is not None and value in refused:
            self.refuse(name, f"{_show(value)} is not supported: {refused[value]}")
        if not isinstance(value, str) or value not in table:
            self.refuse(name, f"{_show(value)} is not supported; supported are: {', '.join(sorted(table))}")
        return table[value]

    def choices(self, name: str, table: Mapping[str, T], count: int) -> tuple[T, ...] | None:
        """``table``'s entries for a list of ``count`` strings; None where it is absent or null."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self.refuse(name, f"{_show(value)} is not a list")
        items = cast(list[object], value)
        if len(items) != count:
            self.refuse(name, f"it has {len(items)} entries, and the model {count} layers")
        wrong = next((item for item in items if not isinstance(item, str) or item not in table), None)
        if wrong is not None or None in items:
            self.refuse(name, f"{_show(wrong)} is not supported; supported are: {', '.join(sorted(table))}")
        return tuple(table[cast(str, item)] for item in items)

    def numbers(self, name: str, count: int) -> tuple[str, ...]:
        """A list of ``count`` positive numbers, as :meth:`number` gives each."""
        value = self._get(name)
        if not isinstance(value, list):
            self.refuse(name, "this option is missing" if value is None else f"{_show(value)} is not a list")
        items = cast(list[object], value)
        if len(items) != count:
            self.refuse(name, f"it has {len(items)} entries, and a head {count} rotary frequencies")
        return tuple(self._positive(name, item, zero=False) for item in items)

    def only(self, name: str, *supported: object, why: str) -> None:
        """Refuse the option ``name`` unless it is absent or has one of the values ``supported``."""
        value = self._get(name)
        if name in self._values and not any(value is s or (type(value) is type(s) and value == s) for s in supported):
            self.refuse(name, f"{_show(value)} is not supported: {why}")

    def group(self, name: str) -> Options | None:
        """The object under ``name``; None where it is absent, null or empty."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, f"{_show(value)} is not an object of options")
        values = cast(dict[str, object], value)
        return Options(values, self._place, f"{self._path}.{name}") if values else None

    def same(self, other: Options) -> bool:
        """Whether two groups hold the same options."""
        return self._values == other._values

    def finish(self, ignored: Collection[str] = ()) -> None:
        """Refuse every option that no getter asked for and that is not in ``ignored``."""
        unknown = sorted(set(self._values) - self._known - set(ignored))
        if unknown:
            shown = ", ".join(json.dumps(name) for name in unknown)
            self.refuse(
                unknown[0],
                f"unknown option{'s' if len(unknown) > 1 else ''} {shown}: what it changes is not known, "
                "so the model is not lifted",
            )


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
