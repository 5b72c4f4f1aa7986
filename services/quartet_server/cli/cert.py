"""`quartet cert`: certificates for development and for clusters without an authority of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from quartet_server.cli.output import CommandError, Format, Output, print_json, print_table
from quartet_server.errors import ZoneInvalid
from quartet_server.rpc.zones import EVERY_ZONE, check_zone

if TYPE_CHECKING:
    from raftmeta import pki  # takes a while to import, for which other commands need not wait

_DIRECTORY = Path("quartet-certs")
_Directory = Annotated[Path, Parameter(name="--dir", help="Directory of the files; ca.crt and ca.key are there.")]
_Overwrite = Annotated[bool, Parameter(negative="", help="Replace files that exist.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    cert = App(name="cert", help="Make certificates: an authority, then nodes' and clients'.")
    app.command(cert)

    @cert.command
    def ca(*, directory: _Directory = _DIRECTORY, overwrite: _Overwrite = False, output: Output = "table") -> None:
        """Make a certificate authority: ca.crt, which everybody gets, and ca.key, which stays here.

        **Example**: `quartet cert ca --dir certs`
        """
        from raftmeta import pki

        certificate, key = directory / "ca.crt", directory / "ca.key"
        _made(lambda: pki.create_ca(certificate, key, overwrite=overwrite))
        _show(output, certificate=certificate, key=key)

    @cert.command
    def node(
        name: str,
        /,
        *,
        host: Annotated[list[str] | None, Parameter(negative="", help="Name or address it is reached by.")] = None,
        directory: _Directory = _DIRECTORY,
        overwrite: _Overwrite = False,
        output: Output = "table",
    ) -> None:
        """Make the certificate of the node NAME, for its gRPC port and for its Raft port.

        **Example**: `quartet cert node n1 --host n1.example.org --host 192.0.2.1 --dir certs`
        """
        from raftmeta import pki

        hosts = [*(host or ()), "localhost", "127.0.0.1", "::1"]
        files = pki.files_of(directory, name)

        def make() -> None:
            pki.issue_node(_authority(directory), name, hosts, files.certificate, files.key, overwrite=overwrite)

        _made(make)
        _show(output, ca=files.ca, certificate=files.certificate, key=files.key)

    @cert.command
    def client(
        name: str = "client",
        /,
        *,
        zone: Annotated[list[str] | None, Parameter(negative="", help="A zone it may name; * is every zone.")] = None,
        directory: _Directory = _DIRECTORY,
        overwrite: _Overwrite = False,
        output: Output = "table",
    ) -> None:
        """Make the certificate of a client that may act in the named zones, or in the zone default.

        **Example**: `quartet cert client agents --zone red --zone blue --dir certs`
        """
        from raftmeta import pki

        zones = zone or ["default"]
        try:
            for one in zones:
                if one != EVERY_ZONE:
                    check_zone(one)
        except ZoneInvalid as error:
            raise CommandError(error.message, "quartet cert client --help", exit_code=2) from error
        files = pki.files_of(directory, name)

        def make() -> None:
            pki.issue_client(_authority(directory), name, zones, files.certificate, files.key, overwrite=overwrite)

        _made(make)
        _show(output, ca=files.ca, certificate=files.certificate, key=files.key)


def _authority(directory: Path) -> pki.Authority:
    from raftmeta import pki

    return pki.load_ca(directory / "ca.crt", directory / "ca.key")


def _made(make: Callable[[], object]) -> None:
    """Run `make`; what the pki refuses becomes the command's error. Its message names what helps."""
    from raftmeta import pki

    try:
        make()
    except pki.PkiError as error:
        raise CommandError(str(error), "quartet cert --help") from error


def _show(output: Format, **paths: Path) -> None:
    if output == "json":
        print_json({kind: str(path) for kind, path in paths.items()})
    else:
        print_table([{"file": kind, "path": path} for kind, path in paths.items()], ("file", "path"))
