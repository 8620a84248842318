"""How much memory the spatial indexes of a worker take together, and may take: `limits.spatial_bytes`."""

from __future__ import annotations

import threading
import weakref


class Ration:
    """Shared out to whoever asks first; all methods may be called from any thread.

    What nobody holds any more takes nothing.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def take(self, who: object, size: int) -> bool:
        """Whether it may have so many bytes in all; if not, it has what it had."""
        with self._lock:
            fits = self._left(who) >= size
            if fits:
                self._taken[who] = size
            return fits

    def left(self, who: object) -> int:
        """Bytes that it may have in all."""
        with self._lock:
            return self._left(who)

    def _left(self, who: object) -> int:
        return self.most - sum(size for one, size in self._taken.items() if one is not who)

    @property
    def taken(self) -> int:
        """Bytes, of all."""
        with self._lock:
            return sum(self._taken.values())
