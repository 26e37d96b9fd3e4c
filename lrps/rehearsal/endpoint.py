"""Text generation by a server with the OpenAI protocols of completions and of chats: vLLM, SGLang and others.

Uses the standard library only. The key comes from an environment variable and is never written to messages, files or
logs. The seeds are sent to the server, but its answers may depend on its batches, so equal seeds need not give equal
text.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lrps.base.addresses import conceal_key, redact
from lrps.base.errors import GenerationError
from lrps.base.foreign_json import parse_json
from lrps.base.printable import printable
from lrps.rehearsal.generator import Completion
from lrps.rehearsal.sampling import Sampling

KEY_VARIABLE = "OPENAI_API_KEY"
_REFUSAL_BYTES = 4000
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP codes after which a request is retried."""
LONGEST_PAUSE_SECONDS = 30.0
LARGEST_ANSWER = 2**24
"""Largest number of bytes of an answer; a text of 100,000 tokens has about 400,000."""


class OpenAiGenerator:
    """A generator that sends requests for one model to an endpoint, several at a time."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = KEY_VARIABLE,
        requests_at_once: int = 16,
        attempts: int = 6,
        pause_seconds: float = 1.0,
        timeout_seconds: float = 600.0,
        chat: bool = False,
    ) -> None:
        """Set up the requests, without connecting.

        url: up to and including `/v1`. key_variable: environment variable of the key; if unset, none is sent. attempts:
        maximal number per request, with pauses that double from pause_seconds. chat: whether prompts are messages of a
        user, to which the server applies the chat template of its model.
        """
        root = url.rstrip("/").removesuffix("/completions").removesuffix("/chat")
        self._url, self._chat = f"{root}/chat/completions" if chat else f"{root}/completions", chat
        self._model = model
        self._requests_at_once = requests_at_once
        self._attempts, self._pause, self._timeout = attempts, pause_seconds, timeout_seconds
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self._key = os.environ.get(key_variable)
        self._key_variable = key_variable

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """Return a completion for every prompt, as `Generator.generate`.

        Equal prompts are one request for several completions (`n`) with the seed of the first, so that the server reads
        the prompt once; without sampling they are one completion, because servers refuse several equal ones. Raises
        GenerationError if a request fails after all attempts, without waiting for the others.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
        equal: dict[str, list[int]] = {}
        for number, prompt in enumerate(prompts):
            equal.setdefault(prompt, []).append(number)
        found: dict[int, Completion] = {}
        sampled = sampling.temperature > 0
        with ThreadPoolExecutor(self._requests_at_once) as threads:
            asked = [
                threads.submit(self._complete, prompt, sampling, seeds[numbers[0]], len(numbers) if sampled else 1)
                for prompt, numbers in equal.items()
            ]
            try:
                for numbers, one in zip(equal.values(), asked, strict=True):
                    found |= zip(numbers, one.result() if sampled else one.result() * len(numbers), strict=True)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return [found[number] for number in range(len(prompts))]

    def _complete(self, prompt: str, sampling: Sampling, seed: int, times: int) -> list[Completion]:
        request: dict[str, Any] = {
            "model": self._model,
            **({"messages": [{"role": "user", "content": prompt}]} if self._chat else {"prompt": prompt}),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed % 2**31,
        }
        if sampling.repetition_penalty != 1:
            # An extension of the protocol that some servers refuse, and that counts tokens of the prompt too.
            request["repetition_penalty"] = sampling.repetition_penalty
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if times > 1:
            request["n"] = times
        return self._read(self._post(json.dumps(request).encode(), times), sampling.max_new_tokens, times)

    def _post(self, body: bytes, times: int) -> bytes:
        pause = self._pause
        for attempt in range(1, self._attempts + 1):
            request = urllib.request.Request(self._url, body, self._headers)
            if self._key:  # Unredirected: a host that the server redirects to must not get the key.
                request.add_unredirected_header("Authorization", f"Bearer {self._key}")
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    content: bytes = answer.read(LARGEST_ANSWER * times + 1)
                    return content
            except urllib.error.HTTPError as error:
                fault = f"HTTP {error.code} {error.reason}: {self._refusal(error)}"
                if error.code in (401, 403):
                    raise self._failed(f"{fault}; put the key into the variable {self._key_variable}") from None
                if error.code not in RETRIED:
                    raise self._failed(f"{fault}; correct the model's name, or shorten the prompt") from None
            except (OSError, http.client.HTTPException) as error:  # URLError, timeout, broken connection.
                fault = str(getattr(error, "reason", None) or error or type(error).__name__)
            if attempt < self._attempts:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise self._failed(
            f"{fault}, {self._attempts} times; check that the server is up and run the same command again to continue"
        )

    def _read(self, content: bytes, longest: int, times: int) -> list[Completion]:
        """Return the completions of an answer; each gets an equal part of their tokens, which are counted together."""
        try:
            answer: Mapping[str, Any] = parse_json(content, "the answer", largest=LARGEST_ANSWER * times)
            choices, tokens = answer["choices"], answer["usage"]["completion_tokens"]
            texts = [choice["message"]["content"] if self._chat else choice["text"] for choice in choices]
            ends = [choice.get("finish_reason") == "stop" for choice in choices]
            # Some servers count the EOS token.
            if type(tokens) is not int or not 0 <= tokens <= (longest + 1) * times:
                raise TypeError
            if len(texts) != times or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            several = f", or has not the {times} completions asked for by `n`" if times > 1 else ""
            raise self._failed(
                f"the answer is not a completion with its usage{several}; give the address of a /v1/completions "
                "endpoint"
            ) from None
        part, rest = divmod(tokens, times)
        return [
            Completion(text, part + (number < rest), ended)
            for number, (text, ended) in enumerate(zip(texts, ends, strict=True))
        ]

    def _failed(self, fault: str) -> GenerationError:
        return GenerationError(f"{redact(self._url)}: {printable(self._concealed(fault))}")

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        """Return the beginning of the server's message about a refused request, which may repeat the request's key."""
        try:
            text = error.read(_REFUSAL_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""
        whole = self._concealed(text)
        # The key may be cut off at the end of what was read.
        end = len(whole) - (len(self._key) if self._key and len(text) >= _REFUSAL_BYTES else 0)
        return whole[: max(0, min(300, end))].strip()

    def _concealed(self, text: str) -> str:
        """Return a text without the key, however a server has encoded it."""
        return conceal_key(text, self._key)
