"""The server state file for the next worker."""

from __future__ import annotations

import unittest

from balancer.drivers.haproxy.states import EMPTY, carried

BACKEND, SERVER = "be-" + "b" * 32, "a" * 32
HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)


def answer(
    *,
    backend: str = BACKEND,
    address: str = "192.0.2.1",
    port: str = "80",
    state: str = "0",
    admin: str = "0",
    weights: str = "1 1",
    result: str = "2",
    check: str = "6",
    header: str = HEADER,
    version: str = "1",
) -> str:
    health = f"{state} {admin} {weights} 17 8 {result} 0 {check} 0"
    row = f"3 {backend} 1 {SERVER} {address} {health} 0 0 - {port} - 0 81 - - 0"
    return f"{version}\n{header}\n{row}\n\n"


def block(options: str = "check inter 1s fall 3 rise 2 weight 1", address: str = "192.0.2.1:80") -> str:
    return f"backend {BACKEND} from balancer-tcp\n    balance roundrobin\n    server {SERVER} {address} {options}\n"


def handed(text: str, *blocks: str) -> list[str]:
    """The words of the only line, [] when there is none."""
    made = carried(text, blocks or (block(),))
    if made == EMPTY:
        return []
    version, header, line, end = made.decode().split("\n")
    assert (version, header, end) == ("1", HEADER, "")
    return line.split()


class TestStates(unittest.TestCase):
    def test_health_goes_on_with_the_configured_weight_and_administrative_state(self) -> None:
        for seen, options, admin, weights in (
            ({}, "check inter 1s weight 1", "0", ["1", "1"]),
            ({"weights": "9 1", "admin": "8"}, "check inter 1s weight 1", "0", ["1", "1"]),
            ({}, "check inter 1s weight 5 disabled", "5", ["1", "1"]),
            ({"check": "14"}, "check inter 1s weight 1", "0", ["1", "1"]),
        ):
            with self.subTest(seen=seen, options=options):
                words = handed(answer(**seen), block(options))
                self.assertEqual(["0", admin, *weights, "17", "8", "2", "0", "6"], words[5:14])
                # Where the check goes is the configuration's affair.
                self.assertEqual(["80", "-", "0", "0", "-", "-", "0"], words[18:])

    def test_addresses_are_compared_not_their_spelling(self) -> None:
        self.assertTrue(handed(answer(address="2001:db8::1"), block(address="[2001:0db8::0001]:80")))

    def test_nothing_is_said_of_a_server(self) -> None:
        for why, text, told in (
            ("that is elsewhere now", answer(), block(address="192.0.2.2:80")),
            ("that has another port now", answer(), block(address="192.0.2.1:81")),
            ("that is not checked any more", answer(), block("weight 1")),
            ("that was not checked yet", answer(result="0"), block()),
            ("that was not checked before", answer(check="0"), block()),
            ("whose check was switched off by hand", answer(check="2"), block()),
            ("that was in maintenance", answer(admin="1"), block()),
            ("that was in maintenance by the configuration", answer(admin="5"), block()),
            ("of another backend", answer(backend="be-" + "c" * 32), block()),
            ("that is no longer there", answer(), "backend other from balancer-tcp\n"),
        ):
            with self.subTest(why):
                self.assertEqual([], handed(text, told))

    def test_an_answer_that_is_not_understood_hands_nothing_over(self) -> None:
        for text in (
            "",
            "Permission denied\n",
            answer(version="2"),
            answer(header="# be_id be_name"),
            f"1\n{HEADER}\n",
            f"1\n{HEADER}\n3 {BACKEND} 1 {SERVER} 192.0.2.1\n",
        ):
            with self.subTest(text):
                self.assertEqual([], handed(text))
