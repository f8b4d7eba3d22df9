"""Connectors in a real cluster: real API server and controllers, and pods that are processes of this machine."""

from __future__ import annotations

from pathlib import Path

from headwater.core.managed import Phase
from headwater.testing.kubernetes import Kubelet
from kubernetes.cluster import Cluster
from kubernetes.connectors import Bed, bed, phase, until


async def test_the_life_of_a_connector(cluster: Cluster, kubelet: Kubelet, namespace: str, tmp_path: Path) -> None:
    """Created, listed, paused, resumed, restarted, updated, deleted; and its records have neither gap nor repeat."""
    async with bed(cluster, namespace, tmp_path) as it, it.manager() as manager:
        await it.provide_profile()
        definition = it.definition()
        planned = await manager.create(definition)
        assert (planned.name, planned.action) == ("cats", "created")
        running = await phase(manager, "cats", Phase.RUNNING)
        assert (running.type, running.version, running.topic, running.restarts) == ("http", "latest", "cats", 0)
        assert running.created
        assert running.where.startswith("cats-")
        assert await manager.list() == [running]
        assert await manager.config("cats") == definition.text
        await it.grown()

        await manager.pause("cats")
        assert (await phase(manager, "cats", Phase.PAUSED)).paused
        await until(lambda: _none(it))
        await manager.resume("cats")
        resumed = await phase(manager, "cats", Phase.RUNNING)
        assert resumed.where != running.where
        await it.grown()

        await manager.restart("cats")
        await phase(manager, "cats", Phase.INIT)
        restarted = await phase(manager, "cats", Phase.RUNNING)
        assert restarted.where != resumed.where

        changed = it.definition(more="  spread: false\n")
        assert (await manager.update(definition)).action == "unchanged"
        planned = await manager.update(changed)
        assert (planned.action, planned.difference[-1]) == ("updated", "+  spread: false")
        assert (await phase(manager, "cats", Phase.RUNNING)).where != restarted.where
        assert await manager.config("cats") == changed.text

        numbers = await it.grown()
        assert numbers == list(range(len(numbers)))
        planned = await manager.delete("cats")
        assert planned.action == "deleted"
        assert await it.ours() == []
        assert await manager.list() == []
        await until(lambda: _none(it))
        assert await it.values() == list(range(len(await it.values())))


async def _none(it: Bed) -> bool:
    return not await it.pods()
