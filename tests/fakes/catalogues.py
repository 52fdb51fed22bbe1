"""What a package of pages says, read off its code and its templates."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

from babel.messages.extract import extract_from_dir
from jinja2 import Environment

# Names that are the same in both: formulas, standards, this product.
SAME = {
    "radfed",
    "rho",
    "sigma",
    "CSV",
    "JSON",
    "TLS",
    "SHA-256",
    "·",
    "/",
    "–",
    "…",
    ":",
    ";",
    "(",
    ")",
    "| ",
}
SPOKEN = {"title", "alt", "placeholder", "aria-label", "aria-description", "label"}


def home(package):
    return Path(str(files(package)))


def templates(*packages):
    return [path for one in packages for path in sorted((home(one) / "templates").glob("*.html"))]


def extracted(package):
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    found = extract_from_dir(str(home(package)), method_map=methods, keywords={"_": None})
    return {message for _file, _line, message, _comments, _context in found}


def words_outside(template):
    """Return what a reader, or a screen reader, would be told that no catalogue has."""
    tokens = Environment().lex(template.read_text("utf-8"))
    reader = Spoken()
    reader.feed("".join(text for _line, kind, text in tokens if kind == "data"))
    words = {word for said in reader.found for word in said.split()}
    return {word for word in words if re.search(r"\w", word)} - SAME


def acts_by_itself(template):
    """Return what of a template is script, style or an address elsewhere."""
    text = template.read_text("utf-8")
    inline = r"<style|\sstyle=|\son\w+=|<script(?! src=\"/(?:static|own)/)|javascript:"
    found = re.findall(inline, text)
    found += re.findall(r"(?:src|href|action)=[\"'](?:https?:)?//", text)
    return found + re.findall(r"\|safe", text.replace(" ", ""))


class Spoken(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _tag, attributes):
        self.found += [value for name, value in attributes if name in SPOKEN and value]

    def handle_data(self, data):
        self.found.append(data)
