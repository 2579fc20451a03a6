"""Changes to a graph before it is painted: ``remove node 12``, ``class 7=necrosis``, ``move 3 by 40,0 um``.

An edit changes the label image, and the graph is measured from it again. Numbers are those of the graph that was given,
whatever earlier edits removed. Room that becomes free goes to the nearest other region, pixel by pixel. What is
repainted is what changed and some room around it; all else is held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsigraph.errors import SynthesisError
from wsigraph.geometry import um_to_px
from wsigraph.synthesis.diffusion.scene import Scene, of_labels, rasterise
from wsigraph.synthesis.simulation.layout import TISSUES

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_REMOVE = re.compile(r"remove(?: node)? (\d+)")
_CLASS = re.compile(r"class (\d+)\s*=\s*(\w+)")
_MOVE = re.compile(rf"move(?: node)? (\d+) by ({_NUMBER})\s*,\s*({_NUMBER})(?: um)?")


@dataclass(frozen=True, slots=True)
class Remove:
    """Give a region's room to its neighbours."""

    node: int


@dataclass(frozen=True, slots=True)
class Reclass:
    """Make a region another tissue; its optical density is forgotten."""

    node: int
    tissue: int


@dataclass(frozen=True, slots=True)
class Move:
    """Shift a region; it covers what is there."""

    node: int
    x_um: float
    y_um: float


Edit = Remove | Reclass | Move


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What an edit leaves as it was.

    Attributes
    ----------
    before : Scene
        The graph without the edit, with its label image (h, w).
    keep : bool (h, w)
        Where the picture stays as that graph alone has it.
    """

    before: Scene
    keep: NDArray[np.bool_]


def parse_edit(text: str) -> Edit:
    """Return the edit that a text asks for.

    Parameters
    ----------
    text : str
        Like the examples in the module's text.

    Returns
    -------
    Remove, Reclass or Move
        What is asked.

    Raises
    ------
    SynthesisError
        If it is none of the three, or names a class that there is not.
    """
    plain = " ".join(text.split())
    if found := _REMOVE.fullmatch(plain):
        return Remove(int(found[1]))
    if found := _CLASS.fullmatch(plain):
        if found[2] not in TISSUES:
            raise SynthesisError(f"edit {text!r} names class {found[2]!r}, expected one of {', '.join(TISSUES)}")
        return Reclass(int(found[1]), TISSUES.index(found[2]))
    if found := _MOVE.fullmatch(plain):
        return Move(int(found[1]), float(found[2]), float(found[3]))
    raise SynthesisError(
        f"edit {text!r} is not understood, expected 'remove node 12', 'class 7=necrosis' or 'move 3 by 40,0 um'"
    )


def edit(scene: Scene, edits: Sequence[Edit], *, mpp: float) -> Scene:
    """Return an edited graph.

    Parameters
    ----------
    scene : Scene
        The graph; its label image is drawn where there is none.
    edits : sequence of Remove, Reclass or Move
        In order.
    mpp : float
        Pixel size of the canvas, um/px.

    Returns
    -------
    Scene
        Measured from the edited label image; what lies outside the edited regions and what they touch is as before.

    Raises
    ------
    SynthesisError
        If a node does not exist, is moved off the canvas or covers another wholly, or none would be left.
    """
    drawn = rasterise(scene, mpp=mpp)
    assert drawn.labels is not None  # noqa: S101 - rasterise draws them
    labels, classes, density = drawn.labels.copy(), drawn.classes.copy(), drawn.density.copy()
    for each in edits:
        if not 0 <= each.node < scene.n_nodes or not (labels == each.node + 1).any():
            raise SynthesisError(f"there is no node {each.node} to edit, expected one of 0 to {scene.n_nodes - 1}")
        if isinstance(each, Reclass):
            classes[each.node] = each.tissue
            density[each.node] = np.nan
        elif isinstance(each, Remove):
            labels = _vacate(labels, each.node + 1)
        else:
            labels = _move(labels, each, mpp)
    return of_labels(labels, classes, mpp=mpp, density=density)


def changed(before: Scene, after: Scene) -> NDArray[np.bool_]:
    """Return where two scenes of one canvas ask for different tissue.

    Parameters
    ----------
    before, after : Scene
        With label images of one size.

    Returns
    -------
    bool (h, w)
        True where class, optical density or extent of the region differ.

    Raises
    ------
    SynthesisError
        If one has no label image, or they are of two sizes.
    """
    if before.labels is None or after.labels is None or before.labels.shape != after.labels.shape:
        raise SynthesisError("two scenes without label images of one size, expected an edit of one canvas")
    pair = np.unique(np.stack([before.labels.ravel(), after.labels.ravel()], axis=1), axis=0)
    old, new = pair[pair.min(axis=1) > 0].T - 1
    same = (before.classes[old] == after.classes[new]) & np.array(
        [np.array_equal(before.density[i], after.density[j], equal_nan=True) for i, j in zip(old, new, strict=True)],
        bool,
    )
    table = np.zeros((before.n_nodes + 1, after.n_nodes + 1), bool)
    table[0, 0] = True
    table[old[same] + 1, new[same] + 1] = True
    return ~table[before.labels, after.labels]


def hold(before: Scene, after: Scene, *, margin_um: float, mpp: float) -> Held:
    """Return what stays where a graph was edited.

    Parameters
    ----------
    before, after : Scene
        With label images of one size.
    margin_um : float
        Room around the edit that is repainted with it, um.
    mpp : float
        Pixel size, um/px.

    Returns
    -------
    Held
        All but what changed and the room around it.

    Raises
    ------
    SynthesisError
        As for `changed`.
    """
    touched = changed(before, after)
    if not touched.any():
        return Held(before, ~touched)
    return Held(before, np.asarray(distance_transform_edt(~touched) > margin_um / mpp))


def _vacate(labels: NDArray[np.int32], region: int) -> NDArray[np.int32]:
    own = labels == region
    if not ((labels > 0) & ~own).any():
        raise SynthesisError(f"node {region - 1} is the only one, expected another to take its room")
    # glass takes no room: only other regions do
    nearest = distance_transform_edt(own | (labels == 0), return_distances=False, return_indices=True)
    grown = labels[tuple(nearest)]
    return np.where(own, grown, labels)


def _move(labels: NDArray[np.int32], move: Move, mpp: float) -> NDArray[np.int32]:
    region = move.node + 1
    dx, dy = (round(np.sign(um)) * um_to_px(abs(um), mpp) for um in (move.x_um, move.y_um))
    y, x = np.nonzero(labels == region)
    y, x = y + dy, x + dx
    inside = (y >= 0) & (y < labels.shape[0]) & (x >= 0) & (x < labels.shape[1])
    if 2 * inside.sum() <= len(inside):
        raise SynthesisError(
            f"moving node {move.node} by {move.x_um:g},{move.y_um:g} um puts it outside the canvas; move it less far"
        )
    moved = _vacate(labels, region)
    before = np.unique(labels)
    moved[y[inside], x[inside]] = region
    gone = np.setdiff1d(before, np.unique(moved))
    gone = gone[gone > 0]
    if len(gone):
        raise SynthesisError(
            f"moving node {move.node} covers node {gone[0] - 1} wholly; move it less far, or remove that"
        )
    return np.asarray(moved)
