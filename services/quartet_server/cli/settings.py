"""`quartet settings|flags|key`: named values, switches, and the key that seals the sensitive ones."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from quartet.settings.v1 import settings_pb2 as pb

from quartet_server.cli.connection import Endpoints, connected
from quartet_server.cli.output import Output, print_json, print_table, say

_Prefix = Annotated[str, Parameter(help="Only names that begin so.")]
_Etag = Annotated[str, Parameter(help="Revision of the write that must be the last one.")]
_Description = Annotated[str, Parameter(help="What it is for.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    settings = App(name="settings", help="Read and write the cluster's settings.")
    flags = App(name="flags", help="Read and write the cluster's feature flags.")
    key = App(name="key", help="The key that seals sensitive settings.")
    for sub in (settings, flags, key):
        app.command(sub)

    @settings.command(name="get")
    def get_setting(
        name: str,
        /,
        *,
        reveal: Annotated[bool, Parameter(negative="", help="Show a sensitive value.")] = False,
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Print a setting's value.

        **Example**: `quartet settings get smtp/password --reveal`
        """
        with connected(endpoints) as client:
            setting = client.settings.get(name, reveal=reveal)
        if output == "json":
            print_json(_setting(setting))
        else:
            print(setting.value)

    @settings.command(name="set")
    def set_setting(
        name: str,
        value: Annotated[str, Parameter(help="The value; - reads it from standard input.")],
        /,
        *,
        sensitive: Annotated[bool, Parameter(negative="", help="Seal it, and mask it on read.")] = False,
        description: _Description = "",
        etag: _Etag = "",
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Write a setting.

        **Example**: `quartet settings set smtp/password - --sensitive < password.txt`
        """
        text = sys.stdin.read().removesuffix("\n") if value == "-" else value
        with connected(endpoints) as client:
            setting = client.settings.set(name, text, sensitive=sensitive, description=description, etag=etag)
        if output == "json":
            print_json(_setting(setting))

    @settings.command(name="list")
    def list_settings(prefix: _Prefix = "", /, *, endpoints: Endpoints = None, output: Output = "table") -> None:
        """List settings; sensitive values are masked.

        **Example**: `quartet settings list smtp/`
        """
        with connected(endpoints) as client:
            rows = [_setting(setting) for setting in client.settings.list(prefix)]
        _show(rows, ("name", "value", "sensitive", "etag", "description"), output)

    @settings.command(name="delete")
    def delete_setting(
        name: str, /, *, etag: _Etag = "", endpoints: Endpoints = None, output: Output = "table"
    ) -> None:
        """Remove a setting.

        **Example**: `quartet settings delete smtp/password`
        """
        with connected(endpoints) as client:
            gone = client.settings.delete(name, etag=etag)
        if output == "json":
            print_json({"name": name, "revision": gone.revision})

    @flags.command(name="get")
    def get_flag(name: str, /, *, endpoints: Endpoints = None, output: Output = "table") -> None:
        """Print on or off.

        **Example**: `quartet flags get new-console`
        """
        with connected(endpoints) as client:
            flag = client.settings.get_flag(name)
        if output == "json":
            print_json(_flag(flag))
        else:
            print("on" if flag.enabled else "off")

    @flags.command(name="set")
    def set_flag(
        name: str,
        position: Literal["on", "off"],
        /,
        *,
        description: _Description = "",
        etag: _Etag = "",
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Turn a flag on or off.

        **Example**: `quartet flags set new-console on`
        """
        with connected(endpoints) as client:
            flag = client.settings.set_flag(name, position == "on", description=description, etag=etag)
        if output == "json":
            print_json(_flag(flag))

    @flags.command(name="list")
    def list_flags(prefix: _Prefix = "", /, *, endpoints: Endpoints = None, output: Output = "table") -> None:
        """List flags.

        **Example**: `quartet flags list`
        """
        with connected(endpoints) as client:
            rows = [_flag(flag) for flag in client.settings.list_flags(prefix)]
        _show(rows, ("name", "enabled", "etag", "description"), output)

    @flags.command(name="delete")
    def delete_flag(name: str, /, *, etag: _Etag = "", endpoints: Endpoints = None, output: Output = "table") -> None:
        """Remove a flag.

        **Example**: `quartet flags delete new-console`
        """
        with connected(endpoints) as client:
            gone = client.settings.delete_flag(name, etag=etag)
        if output == "json":
            print_json({"name": name, "revision": gone.revision})

    @key.command
    def rotate(*, endpoints: Endpoints = None, output: Output = "table") -> None:
        """Draw a new data key and seal every sensitive value with it; reads go on meanwhile.

        **Example**: `quartet key rotate`
        """
        with connected(endpoints) as client:
            done = client.settings.rotate_key()
        if output == "json":
            print_json({"key_id": done.key_id, "values": done.values})
        else:
            say(f"{done.values} values are sealed with the new key {done.key_id}")


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], output: str) -> None:
    if output == "json":
        print_json(rows)
    else:
        print_table(rows, columns)


def _setting(setting: pb.Setting) -> dict[str, Any]:
    return {
        "name": setting.name,
        "value": setting.value,
        "sensitive": setting.sensitive,
        "description": setting.description,
        "etag": setting.etag,
        "update_time": setting.update_time.ToJsonString(),
    }


def _flag(flag: pb.Flag) -> dict[str, Any]:
    return {
        "name": flag.name,
        "enabled": flag.enabled,
        "description": flag.description,
        "etag": flag.etag,
        "update_time": flag.update_time.ToJsonString(),
    }
