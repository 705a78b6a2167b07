import pytest

from consumer.adapters.postgres_migrations import released
from consumer.migration import Migration, MigrationError, in_order, missing, parse

# Fleets have applied these. A change is the next one.
RELEASED = {
    "0001_tables.sql": "de2f00f5d375d0a2",
    "0002_days.sql": "9111038a705c5107",
    "0003_default_in_parts.sql": "b7047fcc8d2e367a",
    "0004_days_that_go.sql": "2841cfc557cc6f8d",
    "0005_marks.sql": "5a0342a31ebd4e19",
    "0006_tenants.sql": "92aae55f3f00c29c",
    "0007_drops_are_told.sql": "568b1545f0b8ccb5",
}


def a_migration(number: int, text: str = "SELECT 1;") -> Migration:
    return parse(f"{number:04}_name.sql", text)


def test_a_file_without_marks_is_one_step() -> None:
    migration = parse("0001_tables.sql", "-- why\nSELECT 1;\n")

    assert (migration.number, migration.name) == (1, "0001_tables.sql")
    assert list(migration.steps) == ["-- why\nSELECT 1;\n"]
    assert migration.otherwise is None


def test_each_step_is_for_itself_and_what_undoes_them_comes_last() -> None:
    text = "-- why\n\n-- step: one\nSELECT 1;\n-- step: two\nSELECT 2;\n-- otherwise: none\nSELECT 3;\n"
    migration = parse("0001_tables.sql", text)

    assert [step.strip() for step in migration.steps] == ["SELECT 1;", "SELECT 2;"]
    assert migration.otherwise is not None
    assert migration.otherwise.strip() == "SELECT 3;"


def test_a_file_says_whether_each_run_executes_it() -> None:
    assert a_migration(1, "-- why\n-- each run: because\nSELECT 1;").each_run
    assert not a_migration(1, "SELECT 1; -- each run: no").each_run


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tables.sql", "SELECT 1;", "call it like 0001_tables.sql"),
        ("1_tables.sql", "SELECT 1;", "call it like 0001_tables.sql"),
        ("0001_a.sql", "SELECT 1;\n-- step: one\nSELECT 2;", "before the first statement"),
        ("0001_a.sql", "-- otherwise: none\nSELECT 2;", "behind the last step"),
        ("0001_a.sql", "-- step: a\n;\n-- otherwise: b\n;\n-- step: c\n;", "behind the last step"),
        ("0001_a.sql", "-- step: a\n;\n-- otherwise: b\n;\n-- otherwise: c\n;", "and once"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_the_error_says_what_to_change(name: str, text: str, said: str) -> None:
    with pytest.raises(MigrationError, match=said):
        parse(name, text)


def test_comments_may_be_changed_and_statements_may_not() -> None:
    text = "-- step: one\n-- why\nSELECT 1;"
    others = ["-- step: one\n-- better why\n\nSELECT 1;  ", "-- step: one\nSELECT 2;", "SELECT 1;"]

    [same, changed, without_step] = [
        a_migration(1, other).checksum == a_migration(1, text).checksum for other in others
    ]
    assert same
    assert not changed
    assert not without_step


@pytest.mark.parametrize("numbers", [[2], [1, 3], [1, 1]])
def test_numbers_have_no_gaps_and_come_once(numbers: list[int]) -> None:
    with pytest.raises(MigrationError, match="without gaps"):
        in_order(map(a_migration, numbers))


def test_what_a_database_needs_is_what_it_does_not_have_in_order() -> None:
    known = in_order(map(a_migration, [3, 1, 2]))
    checksums = {migration.number: migration.checksum for migration in known}

    assert [migration.number for migration in missing(known, {})] == [1, 2, 3]
    assert [migration.number for migration in missing(known, {1: checksums[1]})] == [2, 3]
    assert not missing(known, checksums)
    # A newer release was there; this one is run beside it, or again in its place.
    assert not missing(known, checksums | {4: "another's"})


@pytest.mark.parametrize(
    ("applied", "said"),
    [({1: "other"}, "has another 0001 than 0001_name.sql"), ({4: "other"}, "has migration 0004 and not 0001_name.sql")],
)
def test_a_database_of_another_kind_is_left_alone(applied: dict[int, str], said: str) -> None:
    with pytest.raises(MigrationError, match=said):
        missing(in_order(map(a_migration, [1, 2])), applied)


def test_what_was_released_is_not_changed() -> None:
    found = {migration.name: migration.checksum[:16] for migration in released()}

    assert found.items() >= RELEASED.items(), "put what you want to change into a new migration"
    assert found.keys() == RELEASED.keys(), "add it here when it is released"
