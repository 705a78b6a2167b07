"""What is said of refused connections: each is counted, and no stranger fills the log."""

from collections import Counter

from structlog.testing import capture_logs

from shared.process.bounds import Cut
from shared.process.refusals import EVERY_S, MOST, Refusals

EXPIRED = "a certificate that is not taken (certificate has expired)"


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.cut: Counter[Cut] = Counter()
        self.refusals = Refusals(lambda why: self.cut.update([why]), lambda: self.now)


def test_the_first_is_told_at_once_and_the_next_ones_once_a_minute_by_their_number() -> None:
    scene = Scene()
    with capture_logs() as lines:
        for _ in range(1000):
            scene.refusals.refused(Cut.TLS, EXPIRED)
        scene.now = EVERY_S
        scene.refusals.refused(Cut.TLS, EXPIRED)

    assert [(line["reason"], line["shown"], line["number"]) for line in lines] == [
        ("tls", EXPIRED, 1),
        ("tls", EXPIRED, 1000),
    ]
    assert scene.cut == {Cut.TLS: 1001}


def test_a_scan_of_ports_hides_no_certificate_that_ended() -> None:
    scene = Scene()
    with capture_logs() as lines:
        for _ in range(1000):
            scene.refusals.refused(Cut.TLS, "no TLS (wrong version number)")
        scene.refusals.refused(Cut.TLS, EXPIRED)
        scene.refusals.refused(Cut.PEER, "spiffe://fleet/producer-b")

    assert [line["shown"] for line in lines][1:] == [EXPIRED, "spiffe://fleet/producer-b"]


def test_strangers_with_many_names_make_few_lines() -> None:
    scene = Scene()
    with capture_logs() as lines:
        for number in range(10 * MOST):
            scene.refusals.refused(Cut.PEER, f"spiffe://fleet/{number}")

    assert len(lines) == MOST + 1
    assert scene.cut == {Cut.PEER: 10 * MOST}
