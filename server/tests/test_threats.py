"""Every threat that this surface touches has its named tests, and every named test is there (``threats.toml``)."""

from generate_threats import absent_tests, load

# What is on this surface; for the others the catalogue says so.
ON_SURFACE = {f"T{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 19)} | {
    f"X{n}" for n in range(1, 16)
}
ALL = {f"T{n}" for n in range(1, 20)} | {f"X{n}" for n in range(1, 16)}


def test_every_threat_has_a_named_test() -> None:
    catalogue = load()

    assert set(catalogue) == ALL
    assert {name for name, entry in catalogue.items() if "absent" not in entry} == ON_SURFACE
    assert [name for name, entry in catalogue.items() if not any(entry["proofs"].values())] == []
    assert all(tests for entry in catalogue.values() for tests in entry["proofs"].values())


def test_every_named_test_exists() -> None:
    assert absent_tests(load()) == []


def test_a_test_that_does_not_exist_is_noticed() -> None:
    invented = "wire/test_authorize.py::test_that_nobody_wrote"

    assert absent_tests({"T1": {"proofs": {"x": [invented, "no_such_file.py::test_x"]}}}) == [
        invented,
        "no_such_file.py::test_x",
    ]
