"""Reads the parts that header fields are made of: tokens, quoted strings and parameters (RFC 9110, section 5.6)."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WHITE = " \t"
#: Some servers leave out the quotes around an address, whose colons and slashes no token may have.
_BARE_VALUE = re.compile(r"[^\s,;\"]+")


class FieldScanner:
    """A position in the text of one header field. Text that breaks the grammar raises nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def ended(self) -> bool:
        """Whether all of the text has been read."""
        return self.at >= len(self.text)

    def skip(self, characters: str = _WHITE) -> bool:
        """Steps over any number of these characters; whether there were some."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1
        return self.at > start

    def take(self, character: str) -> bool:
        """Steps over spaces and this one character; False, without a step, when another one follows."""
        start = self.at
        self.skip()
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        self.at = start
        return False

    def match(self, pattern: re.Pattern[str]) -> str:
        """What the pattern matches here, stepped over; empty when it does not match."""
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]

    def token(self) -> str:
        """The token that begins here, or an empty text."""
        return self.match(_TOKEN)

    def value(self) -> str:
        """A parameter's value, which is a token or a quoted string without its quotes and backslashes."""
        self.skip()
        if self.text.startswith('"', self.at):
            return self._quoted()
        return self.match(_BARE_VALUE)

    def until(self, characters: str) -> str:
        """What stands before the first of these characters that is not inside a quoted string."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in characters:
            if self.text[self.at] == '"':
                self._quoted()
            else:
                self.at += 1
        return self.text[start : self.at]

    def _quoted(self) -> str:
        """The quoted string that begins here. One that nothing closes ends with the text."""
        out: list[str] = []
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != '"':
            if self.text[self.at] == "\\" and self.at + 1 < len(self.text):
                self.at += 1
            out.append(self.text[self.at])
            self.at += 1
        self.at = min(self.at + 1, len(self.text))
        return "".join(out)
