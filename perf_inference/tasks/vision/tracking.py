"""ByteTrack: the same number for the same object from image to image (Y. Zhang et al., arXiv 2110.06864).

Objects above the confidence are matched to all tracks by overlap; those between `low` and the confidence to the tracks
that got none, lost ones too, so that what is half hidden keeps its number, and what comes out of hiding has it back
before it is far from where it is expected. Tracks are predicted by a Kalman filter of centre and size at constant
velocity over the differences of the images' stamps; the size of a lost one stays. The pairs that overlap fall into
small groups; each is matched at least cost by the Hungarian method, here, as SciPy or lap would be a dependency for
these few lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from perf_inference.tasks.vision.found import Found, hull

Doubles = NDArray[np.float64]
_LEAST_IOU = 0.1  # of a pair
_NEW_ABOVE = 0.1  # above the confidence: what begins a track
# Deviations per image, as shares of the box's height. The paper's are 1 / 20 for what is measured and how a position
# wanders: a velocity from these carries too little over ten hidden images.
_MEASURED, _POSITION, _VELOCITY = 1 / 80, 1 / 160, 1 / 160
_RATE_HZ = 30.0  # of the images that these are for
_UNMATCHED = 1e6


@dataclass
class _Track:
    number: int
    class_id: int
    state: Doubles  # centre x, y, width, height, and their change a second
    covariance: Doubles  # [8, 8]
    seen_ns: int
    is_lost: bool = False


@dataclass
class ByteTracker:
    """The tracks of one camera."""

    confidence: float
    lost_s: float = 1.0
    """So long a track that is not seen is kept."""
    lost: int = 0
    """How often a track was lost from sight."""
    found: int = 0
    """How often a lost track was seen again."""
    _tracks: list[_Track] = field(default_factory=list)
    _next: int = 1
    _stamp_ns: int | None = None

    def update(self, found: Found, stamp_ns: int) -> Found:
        """Return what is above the confidence and belongs to a track, with its number.

        Args:
            found: with scores from `track_low` on.
            stamp_ns: of the image; one that is older than the last resets all tracks.
        """
        if self._stamp_ns is not None and stamp_ns < self._stamp_ns:
            self._tracks = []
        elapsed_s = 0.0 if self._stamp_ns is None else max(0.0, (stamp_ns - self._stamp_ns) / 1e9)
        self._stamp_ns = stamp_ns
        self._tracks = [one for one in self._tracks if stamp_ns - one.seen_ns <= self.lost_s * 1e9]
        for track in self._tracks:
            _predict(track, elapsed_s)
        boxes = _centred(hull(found.boxes) if found.kind == "obb" else found.boxes)
        numbers = np.zeros(len(found), np.int64)
        high = np.flatnonzero(found.scores > self.confidence)
        left = self._match(self._tracks, boxes, high, found, numbers, stamp_ns)
        low = np.flatnonzero(found.scores <= self.confidence)
        left = self._match(left, boxes, low, found, numbers, stamp_ns)
        for track in left:
            self.lost += not track.is_lost
            track.is_lost = True
        for index in high:
            if not numbers[index] and found.scores[index] > min(self.confidence + _NEW_ABOVE, 0.99):
                numbers[index] = self._begin(boxes[index], int(found.class_ids[index]), stamp_ns)
        kept = np.flatnonzero((numbers > 0) & (found.scores > self.confidence))
        return replace(
            found,
            class_ids=found.class_ids[kept],
            scores=found.scores[kept],
            boxes=found.boxes[kept],
            keypoints=None if found.keypoints is None else found.keypoints[kept],
            masks=tuple(found.masks[i] for i in kept) if found.masks else (),
            track_ids=tuple(numbers[kept].tolist()),
        )

    def _begin(self, box: Doubles, class_id: int, stamp_ns: int) -> int:
        deviations = np.array([2 * _MEASURED] * 4 + [10 * _VELOCITY * _RATE_HZ] * 4) * max(box[3], 1.0)
        state = np.concatenate([box, np.zeros(4)])
        self._tracks.append(_Track(self._next, class_id, state, np.diag(deviations**2), stamp_ns))
        self._next += 1
        return self._next - 1

    def _match(
        self, tracks: list[_Track], boxes: Doubles, which: NDArray[np.intp], found: Found,
        numbers: NDArray[np.int64], stamp_ns: int,
    ) -> list[_Track]:  # fmt: skip
        """Give tracks to objects; return the tracks that got none."""
        if not tracks or not len(which):
            return tracks
        shares = _overlaps(np.array([one.state[:4] for one in tracks]), boxes[which])
        same = np.array([one.class_id for one in tracks])[:, None] == found.class_ids[which][None]
        costs = np.where(same & (shares >= _LEAST_IOU), 1 - shares * found.scores[which][None], _UNMATCHED)
        taken = set()
        for row, column in assignment(costs):
            track, index = tracks[row], which[column]
            _correct(track, boxes[index])
            self.found += track.is_lost
            track.is_lost, track.seen_ns = False, stamp_ns
            numbers[index] = track.number
            taken.add(row)
        return [track for row, track in enumerate(tracks) if row not in taken]


def assignment(costs: Doubles) -> list[tuple[int, int]]:
    """Return the pairs of rows and columns [R, C] with the least sum of costs; none of those that may not be."""
    pairs = []
    for rows, columns in _groups(costs < _UNMATCHED):
        part = costs[np.ix_(rows, columns)]
        turned = len(rows) > len(columns)
        matched = _hungarian(part.T if turned else part)
        for row, column in enumerate(matched):
            pair = (rows[column], columns[row]) if turned else (rows[row], columns[column])
            if costs[pair] < _UNMATCHED:
                pairs.append((int(pair[0]), int(pair[1])))
    return pairs


def _groups(allowed: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the rows and columns of each group that no pair joins to another."""
    waiting = np.asarray(allowed.any(axis=1))
    while waiting.any():
        rows: NDArray[np.bool_] = np.zeros(len(allowed), np.bool_)
        rows[int(np.argmax(waiting))] = True
        while True:
            columns = allowed[rows].any(axis=0)
            grown = np.asarray(allowed[:, columns].any(axis=1))
            if np.array_equal(grown, rows):
                break
            rows = grown
        waiting &= ~rows
        yield np.flatnonzero(rows), np.flatnonzero(columns)


def _hungarian(costs: Doubles) -> NDArray[np.intp]:
    """Return the column of each row [R, C], R <= C, by shortest augmenting paths (H. W. Kuhn; J. Munkres)."""
    count, width = costs.shape
    of_row, of_column = np.zeros(count + 1), np.zeros(width + 1)
    owner = np.zeros(width + 1, np.intp)  # row + 1 of each column; column 0 stands for none
    for row in range(1, count + 1):
        owner[0], column = row, 0
        least, before = np.full(width + 1, np.inf), np.zeros(width + 1, np.intp)
        used = np.zeros(width + 1, np.bool_)
        while owner[column]:
            used[column] = True
            reduced = costs[owner[column] - 1] - of_row[owner[column]] - of_column[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], before[1:][better] = reduced[better], column
            following = int(np.argmin(np.where(used, np.inf, least)[1:])) + 1
            step = least[following]
            of_row[owner[used]] += step
            of_column[used] -= step
            least[~used] -= step
            column = following
        while column:
            owner[column] = owner[before[column]]
            column = int(before[column])
    columns = np.zeros(count, np.intp)
    for column in range(1, width + 1):
        if owner[column]:
            columns[owner[column] - 1] = column - 1
    return columns


def _centred(boxes: NDArray[np.float32]) -> Doubles:
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:4].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _overlaps(some: Doubles, others: Doubles) -> Doubles:
    """Return the intersection over the union [S, O] of boxes given by centre and size."""
    low = np.maximum((some[:, None, :2] - some[:, None, 2:] / 2), (others[None, :, :2] - others[None, :, 2:] / 2))
    high = np.minimum((some[:, None, :2] + some[:, None, 2:] / 2), (others[None, :, :2] + others[None, :, 2:] / 2))
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    union = np.prod(some[:, 2:], axis=1)[:, None] + np.prod(others[:, 2:], axis=1)[None] - common
    shares: Doubles = common / np.maximum(union, 1e-9)
    return shares


def _predict(track: _Track, elapsed_s: float) -> None:
    step = np.eye(8)
    step[:4, 4:] = np.eye(4) * elapsed_s
    if track.is_lost:
        track.state[6:] = 0.0
    images = elapsed_s * _RATE_HZ
    noise = np.array([_POSITION] * 4 + [_VELOCITY * _RATE_HZ] * 4) * max(track.state[3], 1.0)
    track.state = step @ track.state
    track.state[2:4] = np.maximum(track.state[2:4], 1.0)
    track.covariance = step @ track.covariance @ step.T + np.diag(noise**2) * images


def _correct(track: _Track, box: Doubles) -> None:
    noise = np.diag(np.full(4, (_MEASURED * max(track.state[3], 1.0)) ** 2))
    gain = np.linalg.solve(track.covariance[:4, :4] + noise, track.covariance[:4]).T
    track.state = track.state + gain @ (box - track.state[:4])
    track.covariance = track.covariance - gain @ track.covariance[:4]
