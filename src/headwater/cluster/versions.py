"""Owns which versions of which messages this client speaks. What is in them is `fluvio`'s."""

from __future__ import annotations

from headwater.fluvio import admin, records
from headwater.fluvio.frame import API_VERSIONS, API_VERSIONS_VERSION, Ranges

_FIRST = {API_VERSIONS: (API_VERSIONS_VERSION, API_VERSIONS_VERSION)}

# Fluvio 0.10 is the oldest whose objects have all that is asked for here.
SC_VERSIONS: Ranges = {
    **_FIRST,
    admin.CREATE: (10, 19),
    admin.DELETE: (10, 19),
    admin.LIST: (10, 19),
    admin.WATCH: (10, 19),
    admin.UPDATE: (10, 19),
}
# Where a cluster has no SmartModules in chains, StreamFetch is older than 18.
SPU_VERSIONS: Ranges = {
    **_FIRST,
    records.PRODUCE: (7, 25),
    records.FETCH_OFFSETS: (0, 25),
    records.STREAM_FETCH: (14, 25),
    records.UPDATE_OFFSETS: (0, 0),
    records.UPDATE_CONSUMER_OFFSET: (22, 25),
    records.DELETE_CONSUMER_OFFSET: (22, 25),
    records.FETCH_CONSUMER_OFFSETS: (22, 25),
}
# The version of StreamFetch that can name more than one SmartModule.
CHAINS = 18
