"""Validated settings: the type, range and meaning of each field are declared once, next to it.

A class of settings is a pydantic dataclass, made by `checked`. The constructor, the parsers of
texts and files, and the documentation all use its declaration.
"""

import dataclasses
import functools
import inspect
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Size = Annotated[int, Field(ge=1, le=8192)]  # so that a typing error cannot take all memory
Count = Annotated[int, Field(ge=0, le=1000)]

Made = TypeVar("Made")
NO_SUCH = "unexpected_keyword_argument"
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a name",
}


class SettingError(ValueError):
    """Settings were refused; `problems` holds pydantic's description of each."""

    def __init__(self, kind: type, problems: list[Any]):
        super().__init__(_sentence(kind, problems[0]))
        self.problems = problems


class Checked:
    """What a type checker knows of any class of settings: it is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def means(text: str, free: bool = False, **bounds: Any) -> Any:
    """Declare the meaning and the range of a setting.

    Args:
        text: Its meaning, for the documentation.
        free: It does not affect what is learned, so a run may be resumed with another value.
        bounds: The constraints of pydantic's `Field`: ge, gt, le, lt and others.

    Returns:
        An annotation for `typing.Annotated`.
    """
    extra: Any = {"free": True} if free else None
    return Field(description=text, json_schema_extra=extra, **bounds)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=())
def checked(kw_only: bool = True) -> Callable[[type[Made]], type[Made]]:
    """Make a frozen dataclass that refuses values outside its declaration.

    It is strict: no string for a number, no True for 1, no NaN and no infinity; an integer is
    accepted as a float. `dataclasses.replace`, `asdict` and `fields` work as with any dataclass.

    Raises:
        SettingError: By the constructor: one sentence, with the range and the value found.
        TypeError: By the constructor: a field is not named.
    """

    def make(cls: type[Made]) -> type[Made]:
        strict = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
        made: Any = dataclass(frozen=True, kw_only=kw_only, config=strict)(cls)
        check = made.__init__

        @functools.wraps(check)
        def __init__(self: Any, *values: Any, **named: Any) -> None:
            if values and kw_only:
                first = next(iter(cls.__annotations__))
                raise TypeError(f"name the fields of {cls.__name__}, such as {first}={values[0]!r}")
            try:
                check(self, *values, **named)
            except ValidationError as error:
                raise SettingError(type(self), error.errors()) from None

        made.__init__ = __init__
        made.__signature__ = _plain_signature(made)  # for `help`
        lines = [_reference(made, name) for name in cls.__annotations__]
        made.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])
        return cast(type[Made], made)

    return make


def _plain_signature(cls: type) -> inspect.Signature:
    """The constructor's signature without the declarations: `epochs: int = 6`."""
    signature = inspect.signature(cls)
    plain = [
        one.replace(annotation=getattr(one.annotation, "__origin__", one.annotation))
        for one in signature.parameters.values()
    ]
    return signature.replace(parameters=plain)


@functools.cache
def declared(cls: type) -> dict[str, dict[str, Any]]:
    """Return each setting's declaration, as JSON Schema."""
    found = TypeAdapter(cls).json_schema()["properties"]
    return {name: one | one.get("anyOf", [{}])[0] for name, one in found.items()}


def free_settings(cls: type) -> set[str]:
    """Return the names of the settings that may differ when a run is resumed."""
    return {name for name, one in declared(cls).items() if one.get("free")}


def check_values(cls: type, values: Mapping[str, Any]) -> None:
    """Check some settings of a class individually; only the constructor checks combinations.

    Raises:
        SettingError: One is unknown or out of range.
    """
    try:
        cls(**values)
    except SettingError as error:
        if mine := [one for one in error.problems if set(one["loc"]) & set(values)]:
            raise SettingError(cls, mine) from None


def from_text(cls: type, name: str, text: str) -> Any:
    """Parse a setting as a user types it.

    Raises:
        SettingError: There is no such setting, or the text does not fit its type.
    """
    read: dict[str, Any] = {"integer": int, "number": float, "boolean": _truth, "string": str}
    value: Any = text
    if name in declared(cls):
        try:
            value = read[declared(cls)[name]["type"]](text)
        except (KeyError, ValueError):
            value = text  # refused below, as typed
    check_values(cls, {name: value})
    return value


def from_file(cls: type, facts: Any, path: str | Path) -> Any:
    """Make settings from a file's content.

    Raises:
        ValueError: They were refused; the sentence begins with the file's name.
    """
    if not isinstance(facts, dict):
        raise ValueError(f"{path} is damaged, or of another version: {cls.__name__} is missing")
    try:
        return cls(**facts)
    except SettingError as error:
        raise ValueError(f"{path}: {error}") from None


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _sentence(cls: type, problem: Mapping[str, Any]) -> str:
    """Describe what is wrong with one setting."""
    if problem["type"] == "value_error":  # of a combination of settings
        return str(problem["ctx"]["error"])
    names = list(inspect.signature(cls).parameters)
    where = (*problem["loc"], "?")[0]  # pydantic does not say which if it is half a character
    name = names[where] if isinstance(where, int) and where < len(names) else where
    if problem["type"] == NO_SUCH or name not in names:
        return f"there is no setting {name!r}: choose from {', '.join(sorted(names))}"
    if problem["type"].startswith("missing"):
        return f"the setting {name} is missing"
    return f"{name} is {_range(declared(cls)[name])}, not {reprlib.repr(problem['input'])}"


def _range(one: Mapping[str, Any]) -> str:
    """Describe the accepted values: "a whole number from 1 to 1,000"."""
    if "enum" in one:
        *some, last = one["enum"]
        return f"{', '.join(some)} or {last}"
    share = one.get("minimum") == 0 and 1 in (one.get("maximum"), one.get("exclusiveMaximum"))
    words = "a share" if share and one["type"] == "number" else KINDS[one["type"]]
    most = "to" if "minimum" in one else "and at most"
    bounds = {"minimum": "from", "exclusiveMinimum": "above"}
    bounds |= {"maximum": most, "exclusiveMaximum": "to less than"}
    for bound, said in bounds.items():
        if bound in one:
            number = f"{one[bound]:,}" if one["type"] == "integer" else f"{one[bound]:,.10g}"
            words += f" {said} {number}"
    return words


def _reference(cls: type, name: str) -> str:
    """Write one setting's line of the documentation."""
    one = declared(cls)[name]
    default = f"; by default {one['default']}" if one.get("default") is not None else ""
    return f"    {name}: {one['description']} ({_range(one)}{default})."
