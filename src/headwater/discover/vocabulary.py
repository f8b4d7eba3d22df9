"""Owns the words by which APIs call things, and how names are cut into words. Decides nothing about any answer."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


@lru_cache(maxsize=4096)
def pieces(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `lastModifiedDate` is (last, modified, date)."""
    return tuple(piece.lower() for piece in _PIECES.findall(name))


def number_of(text: str) -> int | None:
    """Return the number that a text of ASCII digits is, None for anything else and for more than twelve digits."""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


# Lists.
ITEMS: Final = words(
    "items data results records value values entries entry rows hits nodes edges list elements objects content "
    "contents docs documents resources members collection response result payload events messages posts articles "
    "products orders customers users issues tickets contacts people transactions charges invoices payments tweets "
    "observations features files jobs tasks projects repositories commits comments accounts devices readings "
    "measurements"
)
# Arrays that stand beside what was asked for.
BESIDE: Final = words(
    "links link errors warnings meta metadata included facets aggregations columns fields schema tags labels "
    "breadcrumbs parameters params paging pagination sort order filters options categories highlights suggestions "
    "messages_meta permissions scopes includes expansions headers notes"
)
# What an item is wrapped into.
WRAPPERS: Final = words("node resource attributes fields source data properties object item document content")

# Fields of items.
UPDATED: Final = words("updated update modified modify modification changed change edited edit modstamp mtime revised")
CREATED: Final = words(
    "created create creation published publish pub inserted posted added issued opened ctime placed filed"
)
MOMENTS: Final = words("timestamp time date datetime ts dt at day moment when stamp gmt utc zeit datum tag on")

# Pages.
NEXT: Final = words("next following older forward")
CURSORS: Final = words("cursor token continuation bookmark after skiptoken marker scroll offset")
SIZES: Final = (
    "per_page", "perPage", "per-page", "page_size", "pageSize", "page-size", "pagesize", "limit", "$limit", "$top",
    "top", "maxResults", "max_results", "max-results", "maxresults", "page[size]", "page[limit]", "count", "size",
    "rows", "num", "results_per_page", "items_per_page", "hitsPerPage", "first", "take", "n", "number", "_count",
    "pagelen", "max", "_limit",
)  # fmt: skip
PAGES: Final = (
    "page", "p", "pageNumber", "page_number", "pageno", "page_no", "pageNo", "page[number]", "paged", "pg",
    "pageIndex", "page_index", "currentPage", "current_page", "pn", "_page",
)  # fmt: skip
OFFSETS: Final = (
    "offset", "$offset", "skip", "$skip", "start", "startAt", "start_at", "startIndex", "start_index", "from",
    "page[offset]", "first_result", "firstResult", "sysparm_offset", "resultOffset", "_offset", "_start",
)  # fmt: skip
TOTALS: Final = (
    "total", "total_count", "totalCount", "total_results", "totalResults", "totalItems", "total_items", "totalSize",
    "totalHits", "count", "numFound", "recordsTotal", "total_records", "totalRecords", "totalElements",
    "@odata.count", "odata.count", "resultCount", "nbHits", "full_count",
)  # fmt: skip
TOTAL_PAGES: Final = (
    "total_pages", "totalPages", "pages", "page_count", "pageCount", "last_page", "lastPage", "num_pages",
    "nbPages",
)  # fmt: skip
MORE: Final = (
    "has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage", "more", "moreResults", "isMore",
    "more_items_in_collection", "moreAvailable", "has_more_items", "hasMoreItems", "has_additional_results",
    "more_results",
)  # fmt: skip
END: Final = (
    "end_of_stream",
    "is_last",
    "isLast",
    "isLastPage",
    "is_last_page",
    "last",
    "done",
    "finished",
    "complete",
)
# Parameters that ask for what has changed since a time.
SINCE: Final = re.compile(
    r"(?i)^(?:filter[\[._-])?(?:(?:last[-_.]?)?(?:updated?|modified|changed|edited)[-_.]?(?:at|on|date|time)?[-_.\[]?"
    r"(?:since|after|from|min|gte?|start|begin)|(?:min|start|from|since|after)[-_.]?(?:last[-_.]?)?(?:updated?|modified|changed)"
    r"(?:[-_.]?(?:at|on|date|time))?|(?:if[-_.])?(?:modified|updated|changed)[-_.]?since|since|changed_after|start_time|"
    r"start[-_.]?date|date[-_.]?from|from[-_.]?date|created[-_.\[]?(?:gte?|after|since|min|at_min|from)|created_at_min|"
    r"posted[-_.]?after|published[-_.]?after|sys_updated_on|oldest|\$?updated[-_.]?from|since[-_.]?(?:date|time))\]?$"
)
