"""Reads the fields of IDL definitions, as ROS 2 generates and writes them: modules, structs, typedefs, constants."""

from __future__ import annotations

import re

from perf_inference.recording.cdr.declared import SECTION, Declared, DefinitionError
from perf_inference.recording.cdr.fields import NUMBERS

# comments, text and includes are of no use here
_LEFT_OUT = re.compile(r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\.|[^"\\])*(?:"|\Z)|^[ \t]*#[^\n]*', re.MULTILINE | re.DOTALL)
_TOKEN = re.compile(r"\s+|(?P<token>(?:::)?[A-Za-z_]\w*(?:::\w+)*|\d\w*|.)", re.ASCII | re.DOTALL)
_NUMBERS = {
    "boolean": "bool",
    "octet": "byte",
    "char": "char",
    "wchar": "wchar",
    "short": "int16",
    "unsigned short": "uint16",
    "long": "int32",
    "unsigned long": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
}
_MAX_SCOPES = 8
_WORDS = ("unsigned", "short", "long", "double")  # of which numbers' names are made


def parse_idl(text: str) -> dict[str, list[Declared]]:
    """Return the fields of all structs, by type.

    Raises:
        DefinitionError: it is not IDL, or what is not used for messages: unions, enums, arrays of arrays, expressions.
    """
    parser = _Parser()
    for section in SECTION.split(text.replace("\r\n", "\n")):
        parser.parse(section.partition("\n")[2] if section.startswith("IDL:") else section)
    return parser.declared


class _Parser:
    """What was declared up to the current token."""

    def __init__(self) -> None:
        self.declared: dict[str, list[Declared]] = {}
        self._typedefs: dict[str, Declared] = {}
        self._constants: dict[str, int] = {}
        self._scope: list[str] = []
        self._tokens: list[str] = []

    def parse(self, text: str) -> None:
        plain = _LEFT_OUT.sub(" ", text)
        self._scope, self._tokens = [], [found["token"] for found in _TOKEN.finditer(plain) if found["token"]][::-1]
        while self._tokens:
            self._definition(self._next())

    def _definition(self, word: str) -> None:
        if word == "@":
            self._annotation()
        elif word == "module":
            self._scope.append(self._next())
            self._expect("{")
            if len(self._scope) > _MAX_SCOPES:
                raise DefinitionError(f"modules may be nested {_MAX_SCOPES} deep")
        elif word == "}" and self._scope:
            self._scope.pop()
            self._expect(";")
        elif word == "struct":
            self._struct()
        elif word == "const":
            self._constant()
        elif word == "typedef":
            for alias in self._members():
                self._typedefs[self._within(alias.name)] = alias
        else:
            raise DefinitionError(f"IDL must have module, struct, typedef or const here, got {word[:50]!r}")

    def _struct(self) -> None:
        name, fields = self._within(self._next()), []
        self._expect("{")
        while not self._skip("}"):
            if self._skip("@"):
                self._annotation()
            else:
                fields += self._members()
        self._expect(";")
        self.declared.setdefault(name, fields)

    def _members(self) -> list[Declared]:
        """Return the fields of `type name[size], name;`."""
        declared, members = self._type(), []
        while True:
            name = self._next()
            if self._skip("["):
                if declared.many:
                    raise DefinitionError(f"an array of arrays is not supported: {name[:50]}")
                members.append(declared._replace(name=name, many="array", size=self._size("]")))
            else:
                members.append(declared._replace(name=name))
            if self._skip(";"):
                return members
            self._expect(",")

    def _type(self, nested: bool = False) -> Declared:
        word = self._next()
        if word == "sequence":
            self._expect("<")
            item = self._type(nested=True) if not nested else None
            if item is None or item.many:
                raise DefinitionError("a sequence of sequences or arrays is not supported")
            if self._skip(","):
                return item._replace(many="sequence", size=self._size(">"))
            self._expect(">")
            return item._replace(many="sequence")
        if word in ("string", "wstring"):
            return Declared("", word, self._size(">") if self._skip("<") else 0)
        while (
            self._tokens and word in ("unsigned", "long", "long long", "unsigned long") and self._tokens[-1] in _WORDS
        ):
            word += " " + self._next()
        if word in _NUMBERS or word in NUMBERS:
            return Declared("", _NUMBERS.get(word, word))
        return self._named(word)

    def _named(self, word: str) -> Declared:
        for candidate in self._candidates(word):
            if candidate in self._typedefs:
                return self._typedefs[candidate]
            if candidate in self.declared:
                return Declared("", candidate)
        parts = word.removeprefix("::").split("::")
        return Declared("", "/".join(parts if len(parts) > 1 else [*self._scope, *parts]))

    def _constant(self) -> None:
        self._type()
        name, value = self._next(), []
        self._expect("=")
        while not self._skip(";"):
            value.append(self._next())
        if len(value) == 1 and re.fullmatch(r"\d{1,10}", value[0]):  # others are of no use for sizes
            self._constants[self._within(name)] = int(value[0])

    def _size(self, end: str) -> int:
        word = self._next()
        self._expect(end)
        if re.fullmatch(r"\d{1,10}", word):
            return int(word)
        for candidate in self._candidates(word):
            if candidate in self._constants:
                return self._constants[candidate]
        raise DefinitionError(f"a size must be a number or a constant, got {word[:50]!r}")

    def _annotation(self) -> None:
        self._next()
        depth = 0
        while self._tokens and (depth or self._tokens[-1] == "("):
            depth += {"(": 1, ")": -1}.get(self._next(), 0)

    def _candidates(self, word: str) -> list[str]:
        """Return what a name may stand for, nearest scope first."""
        parts = word.removeprefix("::").split("::")
        scopes = range(len(self._scope) if not word.startswith("::") else 0, -1, -1)
        return ["/".join([*self._scope[:count], *parts]) for count in scopes]

    def _within(self, name: str) -> str:
        return "/".join([*self._scope, name])

    def _next(self) -> str:
        if not self._tokens:
            raise DefinitionError("the IDL ends too early")
        return self._tokens.pop()

    def _skip(self, token: str) -> bool:
        if self._tokens and self._tokens[-1] == token:
            self._tokens.pop()
            return True
        return False

    def _expect(self, token: str) -> None:
        if (got := self._next()) != token:
            raise DefinitionError(f"IDL must have {token!r} here, got {got[:50]!r}")
