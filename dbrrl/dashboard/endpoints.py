"""The table of the API: of each address what it takes and gives, from which it is served and documented."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import messages as m
from . import played
from .service import Service

STATUSES = {
    400: "The request does not have the form that this page describes.",
    401: "Neither the token nor a session was shown.",
    403: "Changes are switched off, or the request comes from another page.",
    404: "There is no such run, file or chart.",
    405: "This address is not used this way.",
    409: "It cannot be done now.",
    413: "The request is too large.",
    429: "Too many requests came at once: wait a little.",
    503: "Too much is asked at once, or the server's files cannot be written.",
}


@dataclass(frozen=True)
class Endpoint:
    """One address of the API.

    Attributes:
        method, path: how it is asked; parts in braces are texts, those with ":path" with slashes in them.
        summary: what it does.
        call: does it: the service, the parts of the path in their order, then the query and the body if there are any.
        gives: the answer, a Struct; for a file the media types.
        query, body: what it takes, Structs.
        changes: whether it is refused by a read-only dashboard.
    """

    method: str
    path: str
    summary: str
    call: Callable[..., Any]
    gives: type | tuple[str, ...]
    query: type | None = None
    body: type | None = None
    changes: bool = False


ENDPOINTS = (
    Endpoint("GET", "/api/runs", "List the runs, or what has changed of them.", Service.runs, m.RunList,
             m.RunListQuery),
    Endpoint("PATCH", "/api/runs", "Change names, notes and tags; hide and restore.", Service.mark, m.Done,
             body=m.Marking, changes=True),
    Endpoint("GET", "/api/columns", "List the settings and statistics of all runs.", Service.columns, m.Columns),
    Endpoint("GET", "/api/runs/{run}", "Tell all that is known of a run.", Service.detail, m.RunDetail),
    Endpoint("DELETE", "/api/runs/{run}", "Delete the folder of a run.", Service.delete, m.Done, body=m.Deletion,
             changes=True),
    Endpoint("POST", "/api/runs/{run}/commands", "Give a command to a run that is going on.", Service.steer, m.Given,
             body=m.Order, changes=True),
    Endpoint("GET", "/api/runs/{run}/evaluation", "List the episodes of an evaluation.", Service.evaluation,
             m.EvaluationEpisodes, m.EvaluationQuery),
    Endpoint("GET", "/api/runs/{run}/file", "Send a file of a run.", Service.file_of, ("*/*",), m.FileQuery),
    Endpoint("POST", "/api/runs/{run}/episodes", "Play an episode with an agent of a run.", Service.play,
             played.EpisodeMade, body=played.EpisodeRequest),
    Endpoint("GET", "/api/episodes/{episode}/step", "Tell what was seen, said and done at a step.", Service.moment,
             played.Moment, played.StepQuery),
    Endpoint("GET", "/api/episodes/{episode}/series", "Send statistics of an episode over its steps.", Service.series,
             played.Series, played.SeriesQuery),
    Endpoint("GET", "/api/episodes/{episode}/frame", "Send the picture of the environment at a step.", Service.frame,
             ("image/png",), played.StepQuery),
    Endpoint("GET", "/api/episodes/{episode}/image", "Send an observation that is a picture.", Service.image,
             ("image/png",), played.StepQuery),
    Endpoint("POST", "/api/lines", "Compute the lines of a chart.", Service.lines, m.Lines, body=m.LinesRequest),
    Endpoint("POST", "/api/export", "Draw a chart into a file, or write its numbers.", Service.export,
             ("image/png", "image/svg+xml", "text/csv", "text/x-python"), body=m.Export),
    Endpoint("GET", "/api/charts", "List the saved charts.", Service.charts, m.SavedCharts),
    Endpoint("PUT", "/api/charts/{name:path}", "Save a chart by a name.", Service.save_chart, m.Done, body=m.SavedChart,
             changes=True),
    Endpoint("DELETE", "/api/charts/{name:path}", "Remove a saved chart.", Service.remove_chart, m.Done, changes=True),
)  # fmt: skip
