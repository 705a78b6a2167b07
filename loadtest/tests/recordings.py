"""Made-up data of a correct fleet: a split of ten seconds in which each region takes an event a second."""

from chaos.checker import KafkaRecord, Place, StoredRow, Verdict
from chaos.ledger import Answer, Ledger, Outcome, Sent
from loadtest.figures import EndSample
from loadtest.report import About, Mark, Recorded, Report, summarise
from loadtest.samples import Lag, Sample
from loadtest.scenarios import Phase

START_S = 1_700_000_000
CUT_S, HEALED_S, ENDED_S = 5, 15, 30
ABOUT = About(
    run="load-test-1",
    scenario="split-brain",
    what="Both directions are cut <and healed>",
    protocol="api",
    hit="region-a",
    seed=1,
    rate=2.0,
    event_size=300,
    scale=1.0,
    mode="native",
    commit="abc1234",
    at="2023-11-14T22:13:20+00:00",
)


def identity(region: str, second: int) -> bytes:
    return f"{region} {second:7d}".encode().ljust(16)[:16]


def recorded() -> Recorded:
    ledger, answers, rows, records, ends = Ledger(), [], [], [], []
    for region, other in (("region-a", "region-b"), ("region-b", "region-a")):
        place, copy = Place(region, "logs", 0), Place(other, f"{region}.logs", 0)
        ends.append(EndSample(copy, 100, START_S * 1_000_000))
        for second in range(20):
            at_us = (START_S + second) * 1_000_000
            event_id = identity(region, second)
            ledger.begun(Sent(event_id, at_us, "d" * 16, "c"), at_us).answered(Outcome.ACKNOWLEDGED)
            answers.append(Answer(at_us / 1e6, at_us / 1e6 + 0.02, region, region, [event_id], [Outcome.ACKNOWLEDGED]))
            records += [KafkaRecord(place, second, event_id), KafkaRecord(copy, 100 + second, event_id)]
            arrived_s = HEALED_S + 2 if CUT_S <= second < HEALED_S + 2 else second + 0.5
            ends.append(EndSample(copy, 101 + second, int((START_S + arrived_s) * 1_000_000)))
            rows.append(
                StoredRow(
                    second,
                    event_id,
                    at_us,
                    "d" * 16,
                    "c",
                    region,
                    at_us,
                    at_us + 1_200_000,
                    f"{region}/1/1",
                    "delayed" if second == 3 else None,
                    7 if second == 3 else None,
                )
            )
    phases = [
        (Phase.STEADY, 0),
        (Phase.SPLIT, CUT_S),
        (Phase.DIVERGE, 10),
        (Phase.HEAL, HEALED_S),
        (Phase.CONVERGE, 20),
    ]
    return Recorded(
        phases=[(phase, float(START_S + at_s)) for phase, at_s in [*phases, (Phase.VERIFY, 25)]],
        ended_s=START_S + ENDED_S,
        healed_s=START_S + HEALED_S,
        settled=True,
        timeline=[Mark(START_S + CUT_S, "cut a-to-b: a-to-b is cut")],
        ledger=ledger,
        answers=answers,
        rows=rows,
        records=records,
        ends=ends,
        samples=[sample(second) for second in range(25)],
        held_back=0,
        memory={"gateway": 2.0**26},
    )


def sample(second: int) -> Sample:
    copied = 0 if CUT_S <= second < HEALED_S else second
    behind = second - CUT_S if CUT_S <= second < HEALED_S else 0
    return Sample(
        at_s=START_S + second,
        phase="steady",
        acknowledged={"region-a": second, "region-b": second},
        repeated=0,
        failovers=3 * (second > 12),
        unanswered={"503": 2} if second > 12 else {},
        stored={"region-a": second},
        duplicates={"redis": copied, "postgres": 0},
        late={"delayed": min(second, 2)},
        lag={"a-to-b": Lag(behind, float(behind)), "b-to-a": Lag(None, None)},
        reported={},
        wait_s=(0.01, 0.02),
    )


def report(verdict: Verdict | None = None, *trouble: str) -> Report:
    return summarise(ABOUT, recorded(), verdict or Verdict(), trouble)
