import pytest

from authserver.login.site import Site, site_of


@pytest.mark.parametrize(
    ("issuer", "site"),
    [
        ("https://a.example", Site(origin="https://a.example", host="a.example", base_path="")),
        ("https://A.example:443", Site(origin="https://a.example", host="a.example", base_path="")),
        ("http://localhost:9000", Site(origin="http://localhost:9000", host="localhost:9000", base_path="")),
        ("http://[::1]:9000", Site(origin="http://[::1]:9000", host="[::1]:9000", base_path="")),
        ("https://a.example/auth", Site(origin="https://a.example", host="a.example", base_path="/auth")),
    ],
)
def test_an_issuer_says_where_browsers_find_the_server(issuer: str, site: Site) -> None:
    assert site_of(issuer) == site


def test_paths_stand_below_that_of_the_issuer() -> None:
    assert site_of("https://a.example").path("/login") == "/login"
    assert site_of("https://a.example/auth").path("/login") == "/auth/login"
