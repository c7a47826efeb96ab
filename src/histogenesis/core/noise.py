"""Random numbers that are functions of what they are for, never of a batch, a rank or an order of jobs.

Every sample is keyed by a tuple, for example (seed, slide, model, level, step). The key becomes the 128-bit key of NumPy's
counter-based Philox generator, so that any sample can be made anywhere, in any order, again and again.
"""

import hashlib
import json

import numpy as np

BLOCK_PX = 64


def generator(*key: int | str) -> np.random.Generator:
    """The generator of `key`: equal keys give equal streams, different keys independent ones."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def normal(shape: tuple[int, ...], *key: int | str) -> np.ndarray:
    """Standard normal numbers of `shape`, float32."""
    return generator(*key).standard_normal(shape, dtype=np.float32)


class NoiseField:
    """Gaussian noise over an unbounded plane of pixels: a function of (key, step, resample_index, channel, y, x).

    The plane is cut into fixed blocks of 64 px, each a Philox stream of its own; a window is put together from the blocks
    that it touches. So a pixel has the same noise in whatever tile it is drawn.
    """

    def __init__(self, *key: int | str, channels: int = 3):
        self.key, self.channels = key, channels

    def window(
        self,
        y: int,
        x: int,
        height: int,
        width: int,
        step: int = 0,
        resample_index: int = 0,
        where: np.ndarray | None = None,
    ) -> np.ndarray:
        """Noise of the window with top left corner (y, x), in px: float32 (channels, height, width).

        Only what lies `where` (bool, height x width) is asked for; elsewhere there may be zeros, which cost no time.
        """
        top, left = y // BLOCK_PX, x // BLOCK_PX
        rows = range(top, -(-(y + height) // BLOCK_PX))
        columns = range(left, -(-(x + width) // BLOCK_PX))
        if where is None:
            blocks = [[self._block(i, j, step, resample_index) for j in columns] for i in rows]
        else:
            nothing = np.zeros((self.channels, BLOCK_PX, BLOCK_PX), np.float32)
            asked = _asked(where, y - top * BLOCK_PX, x - left * BLOCK_PX, len(rows), len(columns))
            blocks = [
                [self._block(i, j, step, resample_index) if asked[i - top, j - left] else nothing for j in columns]
                for i in rows
            ]
        whole = np.concatenate([np.concatenate(row, axis=2) for row in blocks], axis=1)
        y0, x0 = y - top * BLOCK_PX, x - left * BLOCK_PX
        return whole[:, y0 : y0 + height, x0 : x0 + width]

    def _block(self, i: int, j: int, step: int, resample_index: int) -> np.ndarray:
        return normal((self.channels, BLOCK_PX, BLOCK_PX), *self.key, step, resample_index, i, j)


def _asked(where: np.ndarray, y0: int, x0: int, rows: int, columns: int) -> np.ndarray:
    """Which blocks hold something of a window that lies at (y0, x0) in them: bool (rows, columns)."""
    whole = np.zeros((rows * BLOCK_PX, columns * BLOCK_PX), bool)
    whole[y0 : y0 + where.shape[0], x0 : x0 + where.shape[1]] = where
    return np.asarray(whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX).any(axis=(1, 3)))
