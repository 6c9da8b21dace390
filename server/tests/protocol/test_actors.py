"""The ``act`` claim: how it grows, and what it loses on the way (token exchange, section 8)."""

from authserver.protocol.actors import actors_of, add_actor, add_fronting, depth_of, sanitise


def test_a_chain_loses_what_speaks_of_a_token_at_every_hop() -> None:
    act = {
        "sub": "b",
        "exp": 1,
        "role": "x",
        "act": {"sub": "a", "jti": "j", "aud": "u", "iat": 1, "nbf": 1, "iss": "i"},
    }
    assert sanitise(act) == {"sub": "b", "role": "x", "act": {"sub": "a", "iss": "i"}}


def test_what_is_nested_and_no_object_is_dropped() -> None:
    assert sanitise({"sub": "a", "act": "b"}) == {"sub": "a"}
    assert sanitise({"sub": "a", "act": [{"sub": "b"}]}) == {"sub": "a"}
    assert sanitise("a") is None
    assert sanitise(None) is None


def test_the_depth_is_the_number_of_hops() -> None:
    assert [depth_of(None), depth_of({"sub": "a"}), depth_of({"sub": "b", "act": {"sub": "a"}})] == [0, 1, 2]


def test_an_actor_stands_outermost_and_says_what_it_is() -> None:
    assert add_actor(None, caller="a", is_agent=True) == {"sub": "a", "actor_type": "agent"}
    chain = add_actor({"sub": "a"}, caller="b", is_agent=False)
    assert chain == {"sub": "b", "actor_type": "service", "act": {"sub": "a"}}
    assert actors_of(chain) == ("a", "b")


def test_a_gateway_stands_for_its_source_before_the_agent_or_the_chain() -> None:
    assert add_fronting(None, source="gw", agent_client="agent", caller="g") == {"sub": "gw", "act": {"sub": "agent"}}
    for agent_client in ("", "gw"):
        assert add_fronting(None, source="gw", agent_client=agent_client, caller="g")["act"] == {"sub": "g"}
    earlier = {"sub": "x"}
    assert add_fronting(earlier, source="gw", agent_client="agent", caller="g") == {"sub": "gw", "act": earlier}


def test_a_chain_as_deep_as_json_goes_is_read() -> None:
    act: dict[str, object] = {"sub": "0"}
    for _ in range(5000):
        act = {"sub": "x", "act": act}
    assert depth_of(sanitise(act)) == 5001
