"""Pages as tests read them: their forms, controls and links, without a browser."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

VOID = frozenset(("input", "meta", "link", "br"))
UNTYPED = frozenset(("hidden", "submit"))


@dataclass
class Form:
    """A form: where it goes, what it holds, what its buttons say."""

    method: str
    action: str
    label: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """An answer, taken apart."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.answer = answer
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.nameless: list[str] = []
        self.foreign: list[str] = []
        self.title = self.text = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(answer.text)
        self.close()

    def handle_starttag(self, tag: str, found: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in found}
        self.tags[tag] += 1
        if "id" in told:
            self.ids[told["id"]] += 1
        self.foreign += [name for name in told if name.startswith("on") or name == "style"]
        if tag == "a":
            self.links.append(urljoin(str(self.answer.url), told["href"]))
        if tag == "form":
            method, action = told.get("method", "get"), told.get("action", "")
            self.forms.append(Form(method, action, told.get("aria-label", "")))
        if tag in ("input", "select", "textarea"):
            self._control(tag, told)
        if tag == "option" and self.forms and "selected" in told:
            self._typed(self._select(), told["value"])
        if tag == "button":
            self.forms[-1].buttons.append(told.get("aria-label", ""))
        if tag not in VOID:
            self._open.append((tag, told))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        here = self._open[-1][0] if self._open else ""
        if here == "title":
            self.title += data
        if here == "button" and not self.forms[-1].buttons[-1]:
            self.forms[-1].buttons[-1] = data
        if here == "textarea":
            self._typed(self._open[-1][1]["name"], data)
        if here not in ("title", "option"):
            self.text += data

    def form(self, name: str) -> Form:
        """The form whose label or button begins with a name."""
        for one in self.forms:
            if one.method == "post" and any(said.startswith(name) for said in (one.label, *one.buttons)):
                return one
        said = [(one.label, one.buttons) for one in self.forms]
        raise AssertionError(f"no form {name!r} among {said}")

    def _control(self, tag: str, told: dict[str, str]) -> None:
        kind = told.get("type", "text")
        if kind == "checkbox":
            if "checked" in told:
                self._typed(told["name"], told["value"])
        else:
            self._typed(told["name"], told.get("value", ""))
        inside = any(tag == "label" for tag, _ in self._open)
        if kind not in UNTYPED and not inside and "aria-label" not in told:
            self.nameless.append(told["name"])

    def _typed(self, name: str, value: str) -> None:
        self.forms[-1].fields[name] = value

    def _select(self) -> str:
        return next(told["name"] for tag, told in reversed(self._open) if tag == "select")
