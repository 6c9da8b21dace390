"""Client identifiers that are URLs: public API 12.2, CM-01."""

import pytest

from authserver.protocol.client_id_urls import check_client_id_url, is_client_id_url
from authserver.protocol.errors import InvalidClientMetadata
from authserver.protocol.identifiers import new_public_id


@pytest.mark.parametrize(
    "url",
    [
        "https://claude.ai/oauth/claude-code-client-metadata",
        "https://vscode.dev/oauth/client-metadata.json",
        "https://client.example:8443/a?b=c",
        "https://client.example//a",
        "https://client.example/a/",
        "https://client.example/.well-known/client",
        "https://client.example/a...b",
    ],
)
def test_a_url_with_a_path_is_accepted(url: str) -> None:
    assert is_client_id_url(url)
    check_client_id_url(url, require_https=True)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://client.example", "path"),
        ("https://client.example/", "path"),
        ("https://client.example//", "path"),
        ("https://client.example?x=/a", "path"),
        ("https://client.example/.", "dot"),
        ("https://client.example/..", "dot"),
        ("https://client.example/a/../b", "dot"),
        ("https://client.example/a/./b", "dot"),
        ("https://client.example/%2e%2E/b", "dot"),
        ("https://client.example/.%2e/b", "dot"),
        ("https://client.example/a#b", "fragment"),
        ("https://client.example/a#", "fragment"),
        ("https://user@client.example/a", "user information"),
        ("https://user:pw@client.example/a", "user information"),
        ("http://client.example/a", "https"),
        ("https:///a", r"http\(s\) URL"),
        ("https://client.example/a b", r"http\(s\) URL"),
        ("ftp://client.example/a", r"http\(s\) URL"),
        ("https://client.example/" + "a" * 2048, r"http\(s\) URL"),
    ],
)
def test_any_other_is_refused_with_its_rule(url: str, rule: str) -> None:
    with pytest.raises(InvalidClientMetadata, match=rule):
        check_client_id_url(url, require_https=True)


def test_http_passes_where_https_is_not_required_and_keeps_the_other_rules() -> None:
    check_client_id_url("http://localhost:8080/client.json", require_https=False)
    with pytest.raises(InvalidClientMetadata, match="path"):
        check_client_id_url("http://localhost:8080/", require_https=False)


def test_an_identifier_of_ours_is_no_url() -> None:
    assert not is_client_id_url(new_public_id())
    assert is_client_id_url("http://localhost/a")
    assert not is_client_id_url("HTTPS://client.example/a")
