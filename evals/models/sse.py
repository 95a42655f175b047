"""Server-sent events: bytes as they come in, the data of whole events out. Pure."""


class Events:
    """Splits a stream of bytes, whatever the pieces it comes in, into the `data` of its events.

    Comments (keep-alives) and the other fields are skipped: every provider repeats an event's name inside its data.
    """

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that this piece completes."""
        whole = chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") and chunk.find(b"\n") == len(chunk) - 2
        if whole and not self._rest and not self._data:
            return [chunk[6:-2]]  # mostly a piece is one event
        *lines, self._rest = (self._rest + chunk if self._rest else chunk).split(b"\n")
        found: list[bytes] = []
        data = self._data
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                if data:
                    found.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
            elif line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
        return found
