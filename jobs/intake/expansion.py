"""How far compressed input may expand: the one limit that every way of decompression keeps."""

from __future__ import annotations

from jobs.errors import JobFailure

#: Largest piece handed out, in bytes.
MAX_PIECE = 1 << 20
#: Up to here input may expand by any factor, in bytes.
FREE_EXPANSION = 64 << 20


class Expansion:
    """What went into a decompressor and what came out of it, in bytes."""

    def __init__(
        self, max_expansion: int, *, read: int = 0, what: str = "the compressed input"
    ) -> None:
        """
        Args:
            max_expansion: what comes out may be at most this many times as large as what went in; judged all along,
                once more than :data:`FREE_EXPANSION` bytes came out.
            read: what went in already.
            what: what an error calls the input.
        """
        self._max_expansion = max_expansion
        self._what = what
        self.read = read
        self._written = 0

    @property
    def allowed(self) -> int:
        """How much may have come out by now."""
        return max(FREE_EXPANSION, self._max_expansion * self.read)

    def wrote(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            JobFailure: ``input_expansion``, they are too many.
        """
        self._written += size
        if self._written > self.allowed:
            raise self.failure()

    def failure(self) -> JobFailure:
        """What is said of input that expands beyond what is allowed."""
        return JobFailure(
            "input_expansion",
            f"{self._what} expands too far: {self.read} bytes gave more than {self.allowed}; "
            f"beyond {FREE_EXPANSION >> 20} MiB at most {self._max_expansion} times its size is allowed",
        )
