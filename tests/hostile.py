"""Text that is to do harm where it is not taken for what it is: a corpus, and the pieces to make more of.

Everything that could do something names `MARK`, so that it can be looked for wherever it must not be. Commands would
make the file `CANARY` in the directory that they run in.
"""

from __future__ import annotations

from collections.abc import Iterator

MARK = "pwned"
CANARY = "pwned-canary"

_COMMAND = f"touch {CANARY}"
_STANZA = f"backend {MARK}"
_LINE_ENDS = ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"]
LINE_ENDS = (*_LINE_ENDS, "\r\n", "\n\n", "\\n", "%0a")
QUOTES = ("", "'", '"', "`", "\\", "'\"'\"'", "\\'", '\\"', "\u2018", "\u201c", "''", '""')
# What stands in front, so that a check of the beginning alone is passed.
FRONTS = ("", "/", "80", "192.0.2.1", "a", "200", "GET", "10.0.0.0/8", "http://a/", "::1", "SRV", "/etc/a.cfg", "eth0")

_SHELL = (
    f";{_COMMAND}",
    f"; {_COMMAND} #",
    f"&& {_COMMAND}",
    f"|| {_COMMAND}",
    f"| {_COMMAND}",
    f"& {_COMMAND} &",
    f"$({_COMMAND})",
    f"`{_COMMAND}`",
    f"<({_COMMAND})",
    f">{CANARY}",
    f"> {CANARY}",
    f">>{CANARY}",
    f"2>{CANARY}",
    f"$(IFS=_;c=touch_{CANARY};$c)",
    f";touch${{IFS}}{CANARY}",
    f"{{touch,{CANARY}}}",
    f"\n{_COMMAND}\n",
    f"';{_COMMAND};'",
    f'";{_COMMAND};"',
    f"*;{_COMMAND}",
    f"~/{MARK}",
    f"!{MARK}",
    f"$PATH{MARK}",
    f"${{PATH}}{MARK}",
    f"${{HOME-{MARK}}}",
    f"%({_COMMAND})s",
    f"-oProxyCommand={_COMMAND}",
    f"--version {MARK}",
    f"-c {MARK}",
    f"-rf {MARK}",
    "-",
    "--",
    "--help",
    "-n",
    f"@{MARK}",
    f"@/etc/{MARK}",
    f"file:///{MARK}",
    f"../../{MARK}",
    f"/../../{MARK}",
    f"/etc/../{MARK}",
    f"/dev/../{MARK}",
    f"/etc//{MARK}/.",
    f"/proc/self/{MARK}",
)
_HAPROXY = (
    f" # {MARK}",
    f"#{MARK}",
    f" {MARK}",
    f"\t{MARK}",
    f" if TRUE {MARK}",
    f" backup {MARK}",
    f" {{ always_true }} {MARK}",
    f"%[src]{MARK}",
    f"%[var(txn.{MARK})]",
    f"%[env({MARK})]",
    f"%%[{MARK}]",
    f"%{MARK}",
    f"%ci{MARK}",
    f"%{{+Q}}{MARK}",
    f"${MARK}",
    f"${{{MARK}}}",
    f"${{{MARK}[*]}}",
    f'"${{{MARK}}}"',
    f"',{MARK},'",
    f") -m found {MARK}",
    f"),lower,{MARK}(",
    f",{MARK}",
    f"({MARK})",
    f"{MARK} from balancer-http",
    f"{{{MARK}}}",
    f"abns@{MARK}",
    f"unix@/{MARK}",
    f"fd@1 {MARK}",
    f"be-{MARK}",
    f"fe-{'0' * 32}-{MARK}",
    f"# ----- END balancer device {'0' * 32} -----",
    f"# ----- BEGIN balancer device {'0' * 32} ----- {MARK}",
    f"<<\n{MARK}",
    f"set server {MARK}",
    f"; set server {MARK}/x state maint",
    f"\nshow env {MARK}",
    f".if 1 {MARK}",
    f".notice {MARK}",
    f".alert {MARK}",
    f"default-server {MARK}",
    f"user root {MARK}",
    f"stats socket /tmp/{MARK} level admin",
    f"lua-load /tmp/{MARK}",
    f"external-check command /bin/{MARK}",
    f"http-request lua.{MARK}",
    f"insecure-fork-wanted {MARK}",
)
_OTHER = (
    "",
    " ",
    "\t",
    ".",
    "..",
    "/",
    "//",
    "*",
    "?",
    "[a]",
    "~",
    "null",
    "None",
    "undefined",
    "NaN",
    "1e9",
    "0x50",
    "-1",
    "1;",
    "١٢٣",  # Arabic digits
    "８０",  # full-width digits
    "ß",
    "ＡＢＣ",
    "\ufeff",
    f"\u202e{MARK}",
    f"\u200b{MARK}",
    f"\u0000{MARK}",
    f"\x1b[2J{MARK}",
    f"\x7f{MARK}",
    f"a\u0301{MARK}",
    "\U0001f4a9",
    f"<script>{MARK}</script>",
    f"' OR '1'='1' -- {MARK}",
    f"'; DROP TABLE load_balancers; -- {MARK}",
    f"{{{{7*7}}}}{MARK}",
    f"{{0.__class__}}{MARK}",
    f"${{jndi:ldap://127.0.0.1/{MARK}}}",
    f"__proto__{MARK}",
    f"%s%s%n{MARK}",
    f"%(name)s{MARK}",
    f"fe80::1%{MARK}",
    f"::1%\n{MARK}",
    f"::1%\n{MARK}/128",
    f"::%x\n{MARK}/64",
    f"10.0.0.0/8\n{MARK}",
    f"192.0.2.1 {MARK}",
    f"192.0.2.1:80 {MARK}",
    f"[::1]:80 {MARK}",
    f"0.0.0.0:1-65535 {MARK}",
    f"::ffff:192.0.2.1\n{MARK}",
    f"{'0' * 32}\n{MARK}",
    f"{'0' * 31}g{MARK}",
    f"ssh-ed25519 {'A' * 68}\n{MARK}",
    f"eth0:{MARK}",
    f"eth0 dev {MARK}",
    "a" * 256 + MARK,
    "a" * 4096 + MARK,
    "/" + "a" * 2048 + MARK,
    "9" * 5000,
    "é" * 300 + MARK,
    MARK,
)


def corpus() -> Iterator[str]:
    """Each once."""
    made = [*_SHELL, *_HAPROXY, *_OTHER]
    for front in FRONTS:
        made += [f"{front}{end}{_STANZA}" for end in LINE_ENDS]
        made += [f"{front}{end}    server {MARK} 192.0.2.66:80" for end in LINE_ENDS]
        made += [f"{front}{text}" for text in (*_SHELL[:18], *_HAPROXY[:14])]
    for quote in QUOTES:
        quoted = (f"\n{_STANZA}\n", f" {MARK} ", f";{_COMMAND};", f"#{MARK}", f"%[{MARK}]")
        made += [f"{quote}{text}{quote}" for text in quoted]
        made += [f"a{quote}{MARK}"]
    # JSON and the database carry no half of a surrogate pair.
    yield from dict.fromkeys(made)
