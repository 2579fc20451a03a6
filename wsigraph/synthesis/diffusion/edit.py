"""Changes to a graph before it is painted: ``remove node 12``, ``class 7=necrosis``, ``move 3 by 40,0 um``.

An edit changes the label image, and the graph is measured from it again. Node numbers are those of the original graph,
whatever earlier edits removed. Pixels that become free go to the nearest other region. Only what changed, and a margin
around it, is repainted; the rest of the picture keeps its pixels.
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
from wsigraph.synthesis.diffusion.scene import Scene, rasterise, scene_from_labels
from wsigraph.synthesis.simulation.layout import TISSUES

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_REMOVE = re.compile(r"remove(?: node)? (\d+)")
_CLASS = re.compile(r"class (\d+)\s*=\s*(\w+)")
_MOVE = re.compile(rf"move(?: node)? (\d+) by ({_NUMBER})\s*,\s*({_NUMBER})(?: um)?")


@dataclass(frozen=True, slots=True)
class Remove:
    """Give the pixels of a region to its neighbours."""

    node: int


@dataclass(frozen=True, slots=True)
class Reclass:
    """Give a region another tissue class; its optical density becomes unknown."""

    node: int
    tissue: int


@dataclass(frozen=True, slots=True)
class Move:
    """Shift a region over the regions at its new place."""

    node: int
    x_um: float
    y_um: float


Edit = Remove | Reclass | Move


@dataclass(frozen=True, slots=True, eq=False)
class EditMask:
    """Where an edit changes nothing.

    Attributes
    ----------
    before : Scene
        The graph without the edit, with its label image (h, w).
    keep : bool (h, w)
        True where the picture stays that of `before`.
    """

    before: Scene
    keep: NDArray[np.bool_]


def parse_edit(text: str) -> Edit:
    """Return the edit that a text describes.

    Parameters
    ----------
    text : str
        As in the examples at the top of this module.

    Returns
    -------
    Remove, Reclass or Move
        The edit.

    Raises
    ------
    SynthesisError
        If the text is none of the three, or names an unknown class.
    """
    plain = " ".join(text.split())
    if match := _REMOVE.fullmatch(plain):
        return Remove(int(match[1]))
    if match := _CLASS.fullmatch(plain):
        if match[2] not in TISSUES:
            raise SynthesisError(f"edit {text!r} names class {match[2]!r}, expected one of {', '.join(TISSUES)}")
        return Reclass(int(match[1]), TISSUES.index(match[2]))
    if match := _MOVE.fullmatch(plain):
        return Move(int(match[1]), float(match[2]), float(match[3]))
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
        Measured from the edited label image. Regions that are neither edited nor touch an edited one stay the same.

    Raises
    ------
    SynthesisError
        If a node does not exist, is moved off the canvas or covers another wholly, or none would be left.
    """
    drawn = rasterise(scene, mpp=mpp)
    assert drawn.labels is not None  # noqa: S101 - rasterise draws them
    labels, classes, density = drawn.labels.copy(), drawn.classes.copy(), drawn.density.copy()
    for change in edits:
        if not 0 <= change.node < scene.n_nodes or not (labels == change.node + 1).any():
            raise SynthesisError(f"there is no node {change.node} to edit, expected one of 0 to {scene.n_nodes - 1}")
        if isinstance(change, Reclass):
            classes[change.node] = change.tissue
            density[change.node] = np.nan
        elif isinstance(change, Remove):
            labels = _vacate(labels, change.node + 1)
        else:
            labels = _move(labels, change, mpp)
    return scene_from_labels(labels, classes, mpp=mpp, density=density)


def changed(before: Scene, after: Scene) -> NDArray[np.bool_]:
    """Return where two scenes of one canvas describe different tissue.

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
        If one has no label image, or their sizes differ.
    """
    if before.labels is None or after.labels is None or before.labels.shape != after.labels.shape:
        raise SynthesisError("the two scenes have no label images of one size, expected an edit of one canvas")
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


def mask_unedited(before: Scene, after: Scene, *, margin_um: float, mpp: float) -> EditMask:
    """Return where the edit of a graph changes nothing.

    Parameters
    ----------
    before, after : Scene
        With label images of one size.
    margin_um : float
        Width of the margin around the edit that is repainted with it, um.
    mpp : float
        Pixel size, um/px.

    Returns
    -------
    EditMask
        True in `keep` everywhere but in what changed and its margin.

    Raises
    ------
    SynthesisError
        As for `changed`.
    """
    is_changed = changed(before, after)
    if not is_changed.any():
        return EditMask(before, ~is_changed)
    return EditMask(before, np.asarray(distance_transform_edt(~is_changed) > margin_um / mpp))


def _vacate(labels: NDArray[np.int32], region: int) -> NDArray[np.int32]:
    own = labels == region
    if not ((labels > 0) & ~own).any():
        raise SynthesisError(f"node {region - 1} is the only one, expected another to take its pixels")
    # only regions grow into the free pixels, glass does not
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
    covered = np.setdiff1d(before, np.unique(moved))
    covered = covered[covered > 0]
    if len(covered):
        raise SynthesisError(
            f"moving node {move.node} covers node {covered[0] - 1} wholly; move it less far, or remove that node"
        )
    return np.asarray(moved)
