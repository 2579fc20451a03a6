"""Ablation worker: the process that predicts without some regions.

The service starts it with ``python -m wsigraph.service.isolation.ablation_worker``, so that hundreds of ablations cost
the process that answers requests nothing. It keeps the model and the records of the jobs used last. It reads records
that this service has written, never a slide.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache

from wsigraph.errors import WsigraphError
from wsigraph.service.isolation.worker import Response, serve_requests
from wsigraph.service.prediction_json import serialize_prediction

if TYPE_CHECKING:
    from wsigraph.model.bundle import ModelBundle
    from wsigraph.service.results import JobResults

_MAX_JOBS = 3


class AblationWorker:
    """Predicts without some regions, and keeps the model and the records used last in memory."""

    def __init__(self) -> None:
        self._models: LRUCache[str, ModelBundle] = LRUCache(1)
        self._results: LRUCache[tuple[str, str], JobResults] = LRUCache(_MAX_JOBS)

    def respond(self, request: dict[str, Any]) -> Response:
        """Return header and body of the response to one request.

        Parameters
        ----------
        request : dict
            ``directory`` of the records, ``model`` directory, and either ``nodes`` or ``top`` and ``target``. Without
            a directory the model is loaded, and nothing else.

        Returns
        -------
        tuple of dict, bytes
            ``n_removed``, ``n_regions``, ``area_fraction`` and ``prediction``, or ``error`` and ``message``.
        """
        try:
            if "directory" not in request:
                self._load(request["model"])
                return {}, b""
            return self._ablate(request), b""
        except WsigraphError as error:
            return {"error": type(error).__name__, "message": " ".join(str(error).split())}, b""

    def _ablate(self, request: dict[str, Any]) -> dict[str, Any]:
        results = self._open(request["directory"], request["model"])
        if request["nodes"] is None:
            regions = results.most_important(request["top"] or 0, request["target"])
        else:
            regions = np.unique(np.array(request["nodes"], np.int64))
        prediction = results.ablate(regions)
        area = results.coarse.graph.moment("n")
        return {
            "n_removed": len(regions),
            "n_regions": results.n_regions,
            "area_fraction": float(area[regions].sum() / area.sum()),
            "prediction": serialize_prediction(prediction),
        }

    def _open(self, directory: str, model: str) -> JobResults:
        from wsigraph.service.results import JobResults

        key = (directory, model)
        if key not in self._results:
            # outlines are not traced here
            self._results[key] = JobResults(Path(directory), self._load(model), None, (2.0, 0.0, 1))
        return self._results[key]

    def _load(self, model: str) -> ModelBundle:
        from wsigraph.model.bundle import load_bundle

        if model not in self._models:
            self._models[model] = load_bundle(Path(model))
        return self._models[model]


def main(arguments: list[str]) -> None:
    """Answer requests until the service closes the pipe.

    Parameters
    ----------
    arguments : list of str
        Those of `wsigraph.service.isolation.worker.main`; only the fourth, the niceness, is used.
    """
    os.nice(int(arguments[3]))
    serve_requests(AblationWorker().respond)


if __name__ == "__main__":
    main(sys.argv[1:])
