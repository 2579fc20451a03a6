"""Words that the code and its texts do not use, each with the word that is used instead.

A reader who knows whole-slide imaging, PyTorch, survival analysis and FastAPI searches for the words of those fields.
`NAMES` are words that no class, function, argument, variable, attribute or file may have as a part of its name;
`EXACT` are whole names. `PHRASES` may not stand in documentation, help, messages or reports. `FINDABLE` are words that
must be part of the name of the class, function or module that does the thing.
"""

from __future__ import annotations

NAMES = {
    "told": "reported, serialized, message: what it is",
    "tells": "reports, describes",
    "heard": "messages",
    "hear": "propagate",
    "spoken": "label, sentence",
    "theirs": "expected, other",
    "rival": "baseline model",
    "rivals": "baseline models",
    "law": "generative scenario",
    "laws": "generative scenarios",
    "obey": "fidelity",
    "falsify": "perturbation test",
    "wish": "job request",
    "flight": "running job",
    "house": "service context",
    "room": "package, space",
    "cracks": "coverage edges",
    "lattice": "low-power grid, tile grid, label grid",
    "lattices": "grids",
    "sheet": "training image",
    "sheets": "training images",
    "standing": "training state, upload status",
}
"""Parts of names, and what to write instead."""

NAMES_ALLOWED = {
    # the old options and settings, read for one version
    "wsigraph/cli/explain.py": {"falsify", "_Falsify"},
    "wsigraph/cli/simulate.py": {"law", "_Law"},
    "wsigraph/run/batch/job.py": {"max_in_flight"},
    "wsigraph/config/runtime.py": {"max_in_flight"},
    # a key of card.json, which stays so that model ids do
    "wsigraph/model/card.py": {"seen"},
}
"""Names that stay, each where it stays."""

EXACT = {
    "each": "what the element is: edge, slide, region",
    "found": "what was found: regions, slides, result",
    "seen": "what was seen",
    "asked": "the request",
    "stands": "its state",
    "met": "the value, the message",
    "Wish": "JobRequest",
    "Announced": "UploadCreate",
    "Standing": "UploadStatus or TrainingState",
    "Removal": "RegionAblation or AblationRequest",
    "House": "ServiceContext",
    "house_of": "service_context",
    "open_house": "open_context",
    "Gate": "SecurityMiddleware",
    "Flight": "RunningJob",
    "Caller": "Principal",
    "Question": "ExplanationRequest",
    "Found": "what it holds",
    "Messages": "FusedGATv2Conv",
    "GraphBatch": "torch_geometric.data.Batch",
    "collate": "Batch.from_data_list",
    "slide_vectors": "encode_graphs",
    "LinearStart": "LinearOffset",
    "values_of": "serialize_*",
    "draft": "created manifest",
}
"""Whole names, and what to write instead."""

STEMS = {
    "told", "house", "gate", "flight", "listening", "vendor", "hear", "messages", "start", "stacked", "fresh", "words",
    "without", "question", "falsify", "holding", "cracks", "ring", "fine", "explained", "lattice", "lattices",
    "draft", "content", "row", "law", "laws", "rivals", "obey", "sheet", "share", "bags", "reading", "opened", "frames",
}  # fmt: skip
"""Stems of files that may not come back."""

SHARED_STEMS = {
    # the same thing in several packages
    "train": "how a network of this package is trained",
    "tiatoolbox": "the adapter to tiatoolbox",
}
"""Stems that files of several packages share, because they play the same role; modules of cli and config are named by
the verb or the section that they serve, and are not counted."""

PHRASES = (
    "is told",
    "are told",
    "was told",
    "tells of",
    "speaks against",
    "the house",
    "its rivals",
    "their rivals",
    "simple rivals",
    "room for every",
    "harms nobody",
    "put in place once",
    "how it stands",
    "of its own accord",
)
"""Phrases that do not belong into documentation, help, messages and reports."""

FINDABLE = (
    "middleware",
    "service context",
    "serializ",
    "rate limit",
    "isolation",
    "supervisor",
    "job request",
    "upload status",
    "ema",
    "learning rate|lr schedule",
    "early stopping",
    "epoch",
    "timestep",
    "fused",
    "conformal",
    "ablation",
    "dataset",
    "confidence interval",
    "cross validat",
    "fidelity",
)
"""Words of the field; each is part of the name of a class, function or module. Alternatives are divided by ``|``."""
