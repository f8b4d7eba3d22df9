"""What is said of a cluster and its connectors, and what it means."""

from __future__ import annotations

import pytest

from headwater.kubernetes import Options, Settings, Whereabouts, is_kubernetes, parse_profile, parse_target
from headwater.kubernetes.options import decode_settings, encode_settings, settings_of

ARN = "arn:aws:eks:eu-west-1:1234:cluster/prod"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kubernetes", Whereabouts()),
        ("kubernetes:kind", Whereabouts("kind")),
        ("kubernetes:kind/feeds", Whereabouts("kind", "feeds")),
        ("kubernetes:/feeds", Whereabouts(None, "feeds")),
        ("kubernetes:kind/", Whereabouts("kind")),
        (f"kubernetes:{ARN}", Whereabouts(ARN)),
        (f"kubernetes:{ARN}/feeds", Whereabouts(ARN, "feeds")),
        ("kubernetes:gke/other", Whereabouts("gke", "other")),
    ],
)
def test_profiles(text: str, expected: Whereabouts) -> None:
    """A context may have colons and slashes in its name; what is a context as a whole is that one."""
    assert is_kubernetes(text)
    assert parse_profile(text, {ARN, "kind"}) == expected


@pytest.mark.parametrize("text", ["kubernetes:", "kubernetes:kind/No_Namespace", "local", "kubernetesque"])
def test_what_is_no_profile(text: str) -> None:
    with pytest.raises(ValueError, match=r"names nothing|is no namespace|does not begin"):
        parse_profile(text)


def test_targets() -> None:
    """A target names a namespace alone."""
    assert parse_target("kubernetes") == Whereabouts()
    assert parse_target("kubernetes:feeds") == Whereabouts(None, "feeds")
    with pytest.raises(ValueError, match="is no namespace"):
        parse_target("kubernetes:a/b")
    assert not is_kubernetes("fluvio:kubernetes")


def test_settings_of_nothing_are_the_usual() -> None:
    """Without a word records go to the cluster of the ConfigMap that Fluvio's controller used."""
    assert settings_of(Options()) == Settings()
    assert Settings().profile_config_map == "fluvio-config-map"
    assert Settings().on_cluster


def test_storage_alone_is_the_embedded_log() -> None:
    """With a ConfigMap as well, the volume only keeps what belongs to the connector."""
    assert not settings_of(Options(storage="10Gi")).on_cluster
    assert settings_of(Options(storage="10Gi", profile_config_map="mine")).on_cluster


def test_what_is_not_said_stays() -> None:
    """A connector that is there keeps its image, its volume and its other limits."""
    kept = settings_of(Options(image="a:1", storage="10Gi", limits={"cpu": "2"}))
    assert (kept.egress, kept.egress_allow) == ("public", ())
    changed = settings_of(Options(limits={"memory": "1Gi"}), kept)
    assert (changed.image, changed.storage, changed.profile_config_map) == ("a:1", "10Gi", "")
    assert changed.limits == {"cpu": "2", "memory": "1Gi"}
    assert decode_settings(encode_settings(changed)) == changed
    further = settings_of(Options(egress="open", egress_allow=("10.0.0.0/8",)), kept)
    assert settings_of(Options(), decode_settings(encode_settings(further))) == further


@pytest.mark.parametrize(
    "options",
    [
        Options(storage="10 GB"),
        Options(image=""),
        Options(image="a b"),
        Options(requests={"cpu": "much"}),
        Options(profile_config_map=""),
        Options(egress_allow=("10.0.0.1/8",)),
    ],
)
def test_wrong_settings(options: Options) -> None:
    """What the cluster would refuse is refused with a sentence."""
    with pytest.raises(ValueError, match=r"is no quantity|is no name|needs a cluster|within 10"):
        settings_of(options)


def test_settings_of_another_version_are_an_error() -> None:
    with pytest.raises(ValueError, match="does not decode"):
        decode_settings("{")
