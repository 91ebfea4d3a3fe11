"""What a person meets first: an index of links, and a page for every problem."""

from __future__ import annotations

from importlib import resources

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import NotFound

_INDEX = {
    "name": "Peace River",
    "links": {
        "description": "/openapi.json",
        "departments": "/directory/departments",
        "models": "/directory/models",
        "journal": "/journal",
        "cluster": "/cluster",
        "exceptions": "/exceptions",
        "metrics": "/metrics",
    },
}


def _pages() -> dict[str, bytes]:
    folder = resources.files("peaceriver.api").joinpath("problems")
    return {each.name.removesuffix(".md"): each.read_bytes() for each in folder.iterdir() if each.name.endswith(".md")}


#: Read once: what is served is what was there at the start, and no path of a request ever meets the file system.
PROBLEMS = _pages()


async def index(context: Context, asked: Asked) -> Response:
    """``GET /``."""
    return answers.answered(_INDEX)


async def problem(context: Context, asked: Asked) -> Response:
    """``GET /problems/{slug}``: what the ``type`` of a problem leads to."""
    slug = asked.part("slug")
    if slug not in PROBLEMS:
        raise NotFound(f"there is no problem {slug[:80]!r}; there are {', '.join(sorted(PROBLEMS))}")
    return Response(PROBLEMS[slug], media_type="text/markdown")
