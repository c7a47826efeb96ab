"""Random numbers that are functions of what they are for, never of a batch, a rank or an order of jobs.

Every draw is keyed by a tuple, for example (seed, slide, model, level, step). The key becomes the 128-bit key of NumPy's
counter-based Philox generator, so that any draw can be made anywhere, in any order, again and again.
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
    """Gaussian noise over an unbounded plane of pixels: a function of (key, step, draw, channel, y, x).

    The plane is cut into fixed blocks of 64 px, each a Philox stream of its own; a window is put together from the blocks
    that it touches. So a pixel has the same noise in whatever tile it is drawn.
    """

    def __init__(self, *key: int | str, channels: int = 3):
        self.key, self.channels = key, channels

    def window(self, y: int, x: int, height: int, width: int, step: int = 0, draw: int = 0) -> np.ndarray:
        """Noise of the window with top left corner (y, x), in px: float32 (channels, height, width)."""
        top, left = y // BLOCK_PX, x // BLOCK_PX
        rows = range(top, -(-(y + height) // BLOCK_PX))
        columns = range(left, -(-(x + width) // BLOCK_PX))
        blocks = [[self._block(i, j, step, draw) for j in columns] for i in rows]
        whole = np.concatenate([np.concatenate(row, axis=2) for row in blocks], axis=1)
        y0, x0 = y - top * BLOCK_PX, x - left * BLOCK_PX
        return whole[:, y0 : y0 + height, x0 : x0 + width]

    def _block(self, i: int, j: int, step: int, draw: int) -> np.ndarray:
        return normal((self.channels, BLOCK_PX, BLOCK_PX), *self.key, step, draw, i, j)
