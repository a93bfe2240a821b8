"""Which regular expressions can be used, and that HAProxy takes every one of them."""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
import unittest
import warnings
from pathlib import Path

from balancer.core import regex
from balancer.drivers.haproxy import names

PIECES = (
    *("a", "b", "0", "-", "/", "_", "%", " ", "#", "'", '"', "&", "~", ".", "^", "$", "*", "+", "?", "(", ")", "(?:"),
    *("[", "]", "[^", "a-z", "|", "{", "}", "{2}", "{1,}", "{0,3}", "{300}", "*?", "??", "\\", "\\.", "\\d", "\\W"),
    *("\\b", "\\/", "\\1", "(?i)", "(?=", "(?P<n>", "[:alpha:]", ",", ":", "é"),
)


def made_up(number: int) -> list[str]:
    chance = random.Random(number)
    return ["".join(chance.choice(PIECES) for _ in range(chance.randint(1, 9))) for _ in range(number)]


class TestRegularExpressions(unittest.TestCase):
    def test_what_people_write(self) -> None:
        for text in (
            *(
                "/images*",
                "^/a(b|c)$",
                r"\.jpg$",
                "[a-z0-9_-]+",
                "(?:x){2,3}",
                "a*?",
                r"[\]\\]",
                "(ab)+",
                "[a-]",
                "a{2,}",
            ),
            *(r"^a\d+\.", "^(jpe?g|png)$", r"^.*\.example\.com$", "(a|b){3}", "((a|b)c)?", r"\bword\b", "x y"),
        ):
            self.assertIsNone(regex.problem(text), text)

    def test_what_not_everybody_reads_the_same_way(self) -> None:
        for text, word in (
            *(("", "ASCII"), ("é", "ASCII"), ("a\nb", "ASCII"), ("(a", "no )"), ("a)", "no ("), ("[a", "no ]")),
            *(("*a", r"\*"), ("a**", "repeated"), ("a*+", "repeated"), ("^*", "repeated"), (r"\b+", "repeated")),
            *(
                ("a{", r"\{"),
                ("a}", r"\}"),
                ("a]", r"\]"),
                ("a{,3}", r"\{"),
                ("a{2,1}", "at most"),
                ("a{0}", "at most"),
            ),
            *(("a{256}", "255"), ("a{300,}", "255"), ("(?i)a", "(?:"), ("(?=a)", "(?:"), ("(?P<x>a)", "(?:")),
            *((r"(a)\1", "followed"), (r"\x41", "followed"), ("\\", "followed"), (r"\pL", "followed")),
            *(("[]a]", r"\]"), ("[[:alpha:]]", r"\["), ("[z-a]", "later"), (r"[\d-z]", "later"), (r"[\b]", "followed")),
            *(("[:alpha:]", "begin"), ("[^.a.]", "begin"), ("[--a]", "--"), ("[a&&b]", "&&")),
            *(("a||b", "empty"), ("()", "empty"), ("(|a)", "empty"), ("(" * 11 + "a" + ")" * 11, "deep")),
        ):
            self.assertIn(word, regex.problem(text) or "", text)

    def test_what_takes_forever(self) -> None:
        for text in ("(a+)+$", "(a*)*", "(a|a)*", "((a?))*", "(a{1,9}){1,9}", "(?:a|b)+", "(b(a|a))*", "(abc){21}"):
            self.assertIn("repeated", regex.problem(text) or "", text)

    def test_haproxy_takes_them_all(self) -> None:
        good = sorted({text for text in made_up(20000) if regex.problem(text) is None})
        self.assertGreater(len(good), 800)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for text in good:
                re.compile(text)
        lines = [f"acl a{number} path -m reg -- {names.quote(text, 'value')}" for number, text in enumerate(good)]
        with tempfile.TemporaryDirectory() as directory:
            config = Path(directory, "haproxy.cfg")
            frontend = ["frontend f", "mode http", "timeout client 1s", f"bind {directory}/socket", *lines]
            config.write_text("\n".join([*frontend, ""]))
            command = ["/usr/sbin/haproxy", "-c", "-f", str(config)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(0, done.returncode, done.stderr[-2000:])
        print(f"{len(good)} regular expressions")
