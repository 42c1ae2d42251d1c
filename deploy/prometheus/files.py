"""Rule files as text, expressions in blocks as they were written."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from deploy.prometheus.promql import Group

HEADER = "# Written by `python -m deploy.prometheus`; change the code in this folder, not this file.\n"


class _Readable(yaml.SafeDumper):
    """Texts of several lines as blocks, nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def text(groups: Sequence[Group]) -> str:
    """A rule file with these groups."""
    return HEADER + dumped({"groups": list(groups)})


def dumped(value: object) -> str:
    """YAML that people can read."""
    written: str = yaml.dump(value, Dumper=_Readable, sort_keys=False, width=10_000)
    return written
